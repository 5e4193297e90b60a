// What C# means by the arithmetic of a rule, so that a translated rule reads like its C# and computes what it computes.
//
//   Float   each operation is rounded on its own: nothing is contracted into a fused multiply-add
//   Int     32 bits that wrap round; shifts take the count modulo 32; division cuts off. Dividing by 0, and the least Int by -1,
//           gives a value without meaning, where C# throws
//   bool    the language's own
//   Span    reads 0 outside its elements, where C# throws
//
// Equal to C# to the bit but for exp, log, log2, pow and tanh, which are within 2 units in the last place (pow and tanh: 4), and for
// the payload of NaN.
#pragma once

#include <attncompose/attention/hooks.cuh>

namespace attn::rules {

inline constexpr float kNaN = __builtin_bit_cast(float, 0x7FC00000u);

struct Float {
    float value;

    Float() = default;
    template <SameAs<float> T>  // no other number becomes one by itself
    __device__ constexpr Float(T value) : value(value) {}
};

__device__ inline Float operator-(Float a) {
    return -a.value;
}
__device__ inline Float operator+(Float a, Float b) {
    return __fadd_rn(a.value, b.value);
}
__device__ inline Float operator-(Float a, Float b) {
    return __fsub_rn(a.value, b.value);
}
__device__ inline Float operator*(Float a, Float b) {
    return __fmul_rn(a.value, b.value);
}
__device__ inline Float operator/(Float a, Float b) {
    return __fdiv_rn(a.value, b.value);
}
__device__ inline bool operator==(Float a, Float b) {
    return a.value == b.value;
}
__device__ inline bool operator<(Float a, Float b) {
    return a.value < b.value;
}
__device__ inline bool operator<=(Float a, Float b) {
    return a.value <= b.value;
}
__device__ inline bool operator>(Float a, Float b) {
    return a.value > b.value;
}
__device__ inline bool operator>=(Float a, Float b) {
    return a.value >= b.value;
}

struct Int {
    int value;

    Int() = default;
    template <SameAs<int> T>
    __device__ constexpr Int(T value) : value(value) {}

    // Overflow of unsigned arithmetic is defined.
    __device__ unsigned bits() const { return static_cast<unsigned>(value); }
    __device__ static Int of_bits(unsigned bits) { return static_cast<int>(bits); }
};

__device__ inline Int operator-(Int a) {
    return Int::of_bits(0u - a.bits());
}
__device__ inline Int operator~(Int a) {
    return ~a.value;
}
__device__ inline Int operator+(Int a, Int b) {
    return Int::of_bits(a.bits() + b.bits());
}
__device__ inline Int operator-(Int a, Int b) {
    return Int::of_bits(a.bits() - b.bits());
}
__device__ inline Int operator*(Int a, Int b) {
    return Int::of_bits(a.bits() * b.bits());
}
__device__ inline Int operator/(Int a, Int b) {
    return a.value / b.value;
}
__device__ inline Int operator%(Int a, Int b) {
    return a.value % b.value;
}
__device__ inline Int operator&(Int a, Int b) {
    return a.value & b.value;
}
__device__ inline Int operator|(Int a, Int b) {
    return a.value | b.value;
}
__device__ inline Int operator^(Int a, Int b) {
    return a.value ^ b.value;
}
__device__ inline Int operator<<(Int a, Int count) {
    return Int::of_bits(a.bits() << (count.value & 31));
}
__device__ inline Int operator>>(Int a, Int count) {
    return a.value >> (count.value & 31);
}
__device__ inline Int shift_right_logical(Int a, Int count) {
    return Int::of_bits(a.bits() >> (count.value & 31));
}
__device__ inline bool operator==(Int a, Int b) {
    return a.value == b.value;
}
__device__ inline bool operator<(Int a, Int b) {
    return a.value < b.value;
}
__device__ inline bool operator<=(Int a, Int b) {
    return a.value <= b.value;
}
__device__ inline bool operator>(Int a, Int b) {
    return a.value > b.value;
}
__device__ inline bool operator>=(Int a, Int b) {
    return a.value >= b.value;
}

__device__ inline Float to_float(Int a) {
    return __int2float_rn(a.value);
}
// The same for a in [-2^22, 2^22), by two instructions of full rate instead of one of a quarter: the sum is the pattern of
// 1.5 * 2^23 + a, where floats are whole numbers.
__device__ inline Float small_to_float(Int a) {
    return __fsub_rn(__int_as_float(0x4B400000 + a.value), 12582912.0f);
}
// Cuts off; beyond the range of Int its end, and 0 for NaN.
__device__ inline Int to_int(Float a) {
    return __float2int_rz(a.value);
}

__device__ inline Float abs(Float a) {
    return fabsf(a.value);
}
__device__ inline Float min(Float a, Float b) {
    return ptx::min_nan(a.value, b.value);
}
__device__ inline Float max(Float a, Float b) {
    return ptx::max_nan(a.value, b.value);
}
__device__ inline Float clamp(Float a, Float low, Float high) {
    return a < low ? low : a > high ? high : a;
}
__device__ inline Float sqrt(Float a) {
    return __fsqrt_rn(a.value);
}
__device__ inline Float floor(Float a) {
    return floorf(a.value);
}
__device__ inline Float ceiling(Float a) {
    return ceilf(a.value);
}
__device__ inline Float truncate(Float a) {
    return truncf(a.value);
}
__device__ inline Float round(Float a) {
    return rintf(a.value);
}
__device__ inline Float fused_multiply_add(Float a, Float b, Float c) {
    return __fmaf_rn(a.value, b.value, c.value);
}
__device__ inline Float copy_sign(Float a, Float sign) {
    return copysignf(a.value, sign.value);
}
__device__ inline Float exp(Float a) {
    return expf(a.value);
}
__device__ inline Float log(Float a) {
    return logf(a.value);
}
__device__ inline Float log2(Float a) {
    return log2f(a.value);
}
__device__ inline Float pow(Float a, Float b) {
    return powf(a.value, b.value);
}
// Within 4 units and without a branch: the polynomial of the host's vectors near 0, 1 - 2 / (e^2|a| + 1) elsewhere. Beside the
// products of a loop it was faster than a quotient of polynomials, which has half its special functions.
__device__ inline Float tanh(Float a) {
    const float x = fabsf(a.value), square = x * x;
    float p = fmaf(-0.00609671418f, square, 0.0209971797f);
    p = fmaf(p, square, -0.0538509078f);
    p = fmaf(p, square, 0.133327693f);
    p = fmaf(p, square, -0.333333284f);
    const float near = fmaf(p * square, x, x);
    const float far = fmaf(ptx::reciprocal(ptx::exp2(x * 2.88539008f) + 1), -2, 1);
    return copysignf(x < 0.625f ? near : far, a.value);
}
__device__ inline Float fast_tanh(Float a) {
    return ptx::tanh(a.value);
}
// cap tanh(score / cap) as cap - 2 cap / (e^(2 score / cap) + 1), which holds for both signs and at both ends: within cap 2^-21. The
// reciprocal of the cap, the same for every score, leaves the loop.
__device__ inline Float soft_cap(Float score, Float cap) {
    const float power = ptx::exp2(score.value * (2.88539008f * ptx::reciprocal(cap.value)));
    return fmaf(-2 * cap.value, ptx::reciprocal(power + 1), cap.value);
}
__device__ inline bool is_nan(Float a) {
    return a.value != a.value;
}
__device__ inline bool is_finite(Float a) {
    return fabsf(a.value) < kInfinity;
}

__device__ inline Int abs(Int a) {
    return a < 0 ? -a : a;
}
__device__ inline Int min(Int a, Int b) {
    return least(a.value, b.value);
}
__device__ inline Int max(Int a, Int b) {
    return largest(a.value, b.value);
}
__device__ inline Int clamp(Int a, Int low, Int high) {
    return a < low ? low : a > high ? high : a;
}

// Where a score stands, as the rule sees it.
struct Position {
    Int batch, query_head, key_value_head, query, key;
    Float distance;  // query - key

    __device__ explicit Position(const ScorePosition& at)
        : batch(at.batch),
          query_head(at.query_head),
          key_value_head(at.key_value_head),
          query(at.query),
          key(at.key),
          distance(at.distance) {}
};

// A span argument of float, int or bool; the host mirrors it byte for byte. Its elements do not change while a kernel runs.
template <typename T>
struct Span {
    const T* data;
    long long length;

    __device__ Int size() const { return static_cast<int>(length); }

    // Of an index that the host has compared with the length.
    __device__ auto operator[](Int index) const { return load(data + static_cast<long long>(index.value)); }

    // Of any other.
    __device__ auto get(Int index) const {
        const bool inside = index >= 0 && index.value < length;
        using Loaded = decltype(load(data));
        return inside ? load(data + static_cast<long long>(index.value)) : Loaded{};
    }

   private:
    __device__ static Float load(const float* from) { return __ldg(from); }
    __device__ static Int load(const int* from) { return __ldg(from); }
    __device__ static bool load(const bool* from) { return __ldg(reinterpret_cast<const unsigned char*>(from)) != 0; }
};
static_assert(sizeof(Span<float>) == 16);

}  // namespace attn::rules
