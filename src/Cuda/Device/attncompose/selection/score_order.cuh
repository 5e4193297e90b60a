// How scores are ordered and weighed. Integers only, so that every machine agrees to the last bit.
//
//   canonical(x)   x with subnormals and -0 replaced by +0
//   rank_key       unsigned integers in the order of the scores; NaN is lowest
//   mass           share of a mean score in units of 2^(e - 39), with e the exponent of the largest mean
#pragma once

#include <attncompose/element.cuh>

namespace attn {

__device__ inline float canonical(float x) {
    const unsigned bits = __float_as_uint(x);
    return (bits & 0x7FFFFFFFu) < 0x00800000u ? 0.0f : x;
}

__device__ inline bool is_finite(float x) {
    return (__float_as_uint(x) & 0x7F800000u) != 0x7F800000u;
}

__device__ inline unsigned rank_key(float score) {
    const unsigned bits = __float_as_uint(score);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return 0;
    return bits ^ (bits >> 31 ? 0xFFFFFFFFu : 0x80000000u);
}

// Bits of a mean above 0, ascending with it; 0 for a mean that weighs nothing.
__device__ inline unsigned mass_key(float mean) {
    return mean > 0 ? __float_as_uint(mean) : 0;
}

// The same, but kNotFinite, above all others, for a mean that is infinite or NaN, of any sign.
inline constexpr unsigned kNotFinite = 0xFFFFFFFFu;
__device__ inline unsigned finite_mass_key(float mean) {
    return is_finite(mean) ? mass_key(mean) : kNotFinite;
}

struct MassScale {
    static constexpr int kMassBits = 40;  // a mass is below 2^40, so 2^24 of them fit 64 bits
    static constexpr int kFractionBits = 23;

    int exponent;  // biased, of the largest mean

    __device__ explicit MassScale(unsigned largest_key) : exponent(static_cast<int>(largest_key >> kFractionBits)) {}

    // Truncated. `key` is of a finite mean, free of subnormals.
    __device__ unsigned long long mass(unsigned key) const {
        if (key == 0) return 0;
        const unsigned long long significand = (key & ((1u << kFractionBits) - 1)) | (1u << kFractionBits);
        const int shift = kMassBits - 1 - kFractionBits - (exponent - static_cast<int>(key >> kFractionBits));
        if (shift >= 0) return significand << shift;
        return shift < -kFractionBits ? 0 : significand >> -shift;
    }
};

// ceil(round(coverage * 2^63) * total / 2^63), ties of the rounding to even.
__device__ inline unsigned long long coverage_target(double coverage, unsigned long long total) {
    const unsigned long long share = __double2ull_rn(coverage * 9223372036854775808.0);
    const unsigned long long low = share * total, high = __umul64hi(share, total);
    const unsigned long long whole = (high << 1) | (low >> 63);
    return whole + ((low << 1) != 0);
}

// floor(sum / mass), below 2^24; mass is not 0. The operator would be a call, and a call spills.
__device__ inline unsigned quotient(unsigned long long sum, unsigned long long mass) {
    unsigned result = 0;
    for (int bit = 23; bit >= 0; bit--) {
        if (mass << bit > sum) continue;
        sum -= mass << bit;
        result |= 1u << bit;
    }
    return result;
}

}  // namespace attn
