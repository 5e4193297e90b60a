// A warp on a processor: a thread a lane, which meet where the device's lanes do. Enough for headers that are about indices.
#pragma once

#include <barrier>
#include <cmath>
#include <cstring>

#include "stand_ins.h"

inline thread_local Index3 threadIdx;
inline Index3 blockIdx, gridDim;

inline std::barrier<> meeting(32);
inline unsigned long long told[32];

inline unsigned __ballot_sync(unsigned, int vote) {
    told[threadIdx.x] = vote != 0;
    meeting.arrive_and_wait();
    unsigned all = 0;
    for (int lane = 0; lane < 32; lane++) all |= static_cast<unsigned>(told[lane]) << lane;
    meeting.arrive_and_wait();
    return all;
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
    told[threadIdx.x] = static_cast<unsigned long long>(value);
    meeting.arrive_and_wait();
    const T result = static_cast<T>(told[lane]);
    meeting.arrive_and_wait();
    return result;
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int) {
    return value;  // of floats, in functions that are not called here
}
inline int __clz(int x) {
    return x != 0 ? __builtin_clz(static_cast<unsigned>(x)) : 32;
}
inline int __ffs(int x) {
    return __builtin_ffs(x);
}

inline float __fadd_rn(float a, float b) {
    return a + b;
}
inline float __fsub_rn(float a, float b) {
    return a - b;
}
inline float __fmul_rn(float a, float b) {
    return a * b;
}
inline float __fdiv_rn(float a, float b) {
    return a / b;
}
inline float __fsqrt_rn(float a) {
    return std::sqrt(a);
}
inline float __fmaf_rn(float a, float b, float c) {
    return std::fma(a, b, c);
}
inline float __int2float_rn(int a) {
    return static_cast<float>(a);
}
inline int __float2int_rz(float a) {
    return static_cast<int>(a);
}
template <typename T>
T __ldg(const T* from) {
    return *from;
}
using std::fmaf;
