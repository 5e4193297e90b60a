// Element types. They are storage: arithmetic is float32, after conversion.
#pragma once

#include <attncompose/delays.cuh>

namespace attn {

struct bf16 {
    unsigned short bits;
};
struct f16 {
    unsigned short bits;
};

template <typename A, typename B>
inline constexpr bool kSame = false;
template <typename A>
inline constexpr bool kSame<A, A> = true;

template <typename A, typename B>
concept SameAs = kSame<A, B>;

template <typename T>
concept Element = kSame<T, bf16> || kSame<T, f16>;

template <typename T, typename Input>
concept OutputElement = kSame<T, Input> || kSame<T, float>;

// Sixteen bytes: what one asynchronous copy, one matrix row of ldmatrix and one wide store move.
inline constexpr int kChunkBytes = 16;
inline constexpr int kChunkElements = kChunkBytes / sizeof(bf16);
struct alignas(kChunkBytes) Chunk {
    unsigned words[4];
};

inline constexpr float kInfinity = __builtin_bit_cast(float, 0x7F800000u);
inline constexpr float kLog2E = 1.44269504088896341f;
inline constexpr float kLn2 = 0.693147180559945309f;

// Rounds to the nearest bfloat16, ties to even, as a float; a NaN stays a NaN.
__device__ inline float round_to_bf16(float value) {
    unsigned bits = __float_as_uint(value);
    bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
    bits = is_nan ? bits | 0x00400000u : bits + 0x7FFFu + ((bits >> 16) & 1u);
    return __uint_as_float(bits & 0xFFFF0000u);
}

template <typename T>
__device__ constexpr T divide_up(T value, T divisor) {
    return (value + divisor - 1) / divisor;
}
template <typename T>
__device__ constexpr T least(T a, T b) {
    return a < b ? a : b;
}
template <typename T>
__device__ constexpr T largest(T a, T b) {
    return a < b ? b : a;
}

}  // namespace attn
