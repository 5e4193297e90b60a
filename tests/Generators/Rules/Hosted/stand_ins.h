// What CUDA has and C++ lacks, for device headers on a processor: types, and functions of one value that no thread meets another for.
#pragma once

#define __device__
#define __forceinline__ inline

struct Index3 {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline float __int_as_float(int a) {
    return __builtin_bit_cast(float, a);
}
inline unsigned __float_as_uint(float a) {
    return __builtin_bit_cast(unsigned, a);
}
inline float __uint_as_float(unsigned a) {
    return __builtin_bit_cast(float, a);
}
inline float __fdividef(float a, float b) {
    return a / b;
}
unsigned long long __cvta_generic_to_shared(const void* address);  // of functions that are not called here
