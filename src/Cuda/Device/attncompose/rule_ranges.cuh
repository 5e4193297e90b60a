// Rules over ranges: what a mask rule says of all pairs of a tile, from the first and last positions of its queries and keys. The
// host has the same functions (RuleRanges), and a generated rule calls either by the same names.
//
//   range     every value that an expression can have in a tile lies in [low, high]; a float may also be NaN where it says so
//   verdict   whether a condition can hold and whether it can fail in a tile; both where ranges do not tell
//   bounds    least and greatest element of a block of a span, made by a kernel of its own (SpanBounds)
//
// Rounding keeps the order of values, so the bounds of a rounded sum are the rounded sums of bounds. What is not followed may be
// anything, which costs a test and is never wrong.
#pragma once

#include <attncompose/rules.cuh>

namespace attn::rules {

struct Verdict {
    bool can_hold, can_fail;
};

struct IntRange {
    int low, high;

    static __device__ IntRange any() { return {-2147483647 - 1, 2147483647}; }
    __device__ bool is_point() const { return low == high; }
};

struct FloatRange {
    float low, high;
    bool can_be_nan;

    static __device__ FloatRange any() { return {-kInfinity, kInfinity, true}; }
    __device__ bool is_point() const { return low == high && !can_be_nan; }
    __device__ bool is_finite() const { return low > -kInfinity && high < kInfinity; }
};

// Where the pairs of a tile stand.
struct TileRanges {
    IntRange batch, query_head, key_value_head, query, key;
};

namespace ranges {

__device__ inline Verdict of(bool value) {
    return {value, !value};
}
__device__ inline IntRange of(Int value) {
    return {value.value, value.value};
}
__device__ inline FloatRange of(Float value) {
    return value.value == value.value ? FloatRange{value.value, value.value, false} : FloatRange::any();
}

// ---- Verdicts ---------------------------------------------------------------------------------------------------------------

__device__ inline Verdict invert(Verdict a) {
    return {a.can_fail, a.can_hold};
}
__device__ inline Verdict both(Verdict a, Verdict b) {
    return {a.can_hold && b.can_hold, a.can_fail || b.can_fail};
}
__device__ inline Verdict either(Verdict a, Verdict b) {
    return {a.can_hold || b.can_hold, a.can_fail && b.can_fail};
}
__device__ inline Verdict equal(Verdict a, Verdict b) {
    return {(a.can_hold && b.can_hold) || (a.can_fail && b.can_fail), (a.can_hold && b.can_fail) || (a.can_fail && b.can_hold)};
}
__device__ inline Verdict choose(Verdict test, Verdict a, Verdict b) {
    return {(test.can_hold && a.can_hold) || (test.can_fail && b.can_hold),
            (test.can_hold && a.can_fail) || (test.can_fail && b.can_fail)};
}

// ---- Ints -------------------------------------------------------------------------------------------------------------------

// What wraps round somewhere may be anything, unless all is one value.
__device__ inline IntRange fit(long long low, long long high) {
    if (low == high) return of(Int(static_cast<int>(static_cast<unsigned>(low))));
    return low >= -2147483648ll && high <= 2147483647ll ? IntRange{static_cast<int>(low), static_cast<int>(high)} : IntRange::any();
}
__device__ inline IntRange hull(IntRange a, IntRange b) {
    return {least(a.low, b.low), largest(a.high, b.high)};
}
__device__ inline IntRange choose(Verdict test, IntRange a, IntRange b) {
    return !test.can_fail ? a : !test.can_hold ? b : hull(a, b);
}
__device__ inline IntRange add(IntRange a, IntRange b) {
    return fit(static_cast<long long>(a.low) + b.low, static_cast<long long>(a.high) + b.high);
}
__device__ inline IntRange subtract(IntRange a, IntRange b) {
    return fit(static_cast<long long>(a.low) - b.high, static_cast<long long>(a.high) - b.low);
}
__device__ inline IntRange multiply(IntRange a, IntRange b) {
    const long long p = static_cast<long long>(a.low) * b.low, q = static_cast<long long>(a.low) * b.high;
    const long long r = static_cast<long long>(a.high) * b.low, s = static_cast<long long>(a.high) * b.high;
    return fit(least(least(p, q), least(r, s)), largest(largest(p, q), largest(r, s)));
}
// A quotient is followed for one divisor above 0: it then rises with what is divided.
__device__ inline IntRange divide(IntRange a, IntRange b) {
    return b.is_point() && b.low > 0 ? IntRange{a.low / b.low, a.high / b.low} : IntRange::any();
}
__device__ inline IntRange remainder(IntRange a, IntRange b) {
    if (!b.is_point() || b.low <= 0) return IntRange::any();
    const int by = b.low;
    if (a.low / by == a.high / by && (a.low >= 0) == (a.high >= 0)) return {a.low % by, a.high % by};
    return {a.low < 0 ? 1 - by : 0, a.high > 0 ? by - 1 : 0};
}
__device__ inline IntRange bit_and(IntRange a, IntRange b) {
    if (a.is_point() && b.is_point()) return of(Int(a.low & b.low));
    if (a.low >= 0 && b.low >= 0) return {0, least(a.high, b.high)};
    return a.low >= 0 ? IntRange{0, a.high} : b.low >= 0 ? IntRange{0, b.high} : IntRange::any();
}
__device__ inline IntRange bit_or(IntRange a, IntRange b) {
    return a.is_point() && b.is_point() ? of(Int(a.low | b.low)) : IntRange::any();
}
__device__ inline IntRange bit_xor(IntRange a, IntRange b) {
    return a.is_point() && b.is_point() ? of(Int(a.low ^ b.low)) : IntRange::any();
}
__device__ inline IntRange shift_left(IntRange a, IntRange b) {
    return a.is_point() && b.is_point() ? of(Int(a.low) << Int(b.low)) : IntRange::any();
}
__device__ inline IntRange shift_right(IntRange a, IntRange b) {
    return b.is_point() ? IntRange{a.low >> (b.low & 31), a.high >> (b.low & 31)} : IntRange::any();
}
__device__ inline IntRange shift_right_logical(IntRange a, IntRange b) {
    if (a.low >= 0) return shift_right(a, b);
    return a.is_point() && b.is_point() ? of(rules::shift_right_logical(Int(a.low), Int(b.low))) : IntRange::any();
}
__device__ inline IntRange negate(IntRange a) {
    return subtract({0, 0}, a);
}
__device__ inline IntRange complement(IntRange a) {
    return {~a.high, ~a.low};
}
__device__ inline IntRange min(IntRange a, IntRange b) {
    return {least(a.low, b.low), least(a.high, b.high)};
}
__device__ inline IntRange max(IntRange a, IntRange b) {
    return {largest(a.low, b.low), largest(a.high, b.high)};
}
__device__ inline IntRange clamp(IntRange a, IntRange low, IntRange high) {
    return low.high <= high.low ? min(max(a, low), high) : IntRange::any();
}
__device__ inline IntRange abs(IntRange a) {
    if (a.low == -2147483647 - 1) return IntRange::any();
    return a.low >= 0 ? a : a.high <= 0 ? IntRange{-a.high, -a.low} : IntRange{0, largest(-a.low, a.high)};
}
__device__ inline Verdict less(IntRange a, IntRange b) {
    return {a.low < b.high, a.high >= b.low};
}
__device__ inline Verdict less_or_equal(IntRange a, IntRange b) {
    return {a.low <= b.high, a.high > b.low};
}
__device__ inline Verdict equal(IntRange a, IntRange b) {
    return {a.low <= b.high && b.low <= a.high, !(a.is_point() && b.is_point() && a.low == b.low)};
}

// ---- Floats -----------------------------------------------------------------------------------------------------------------

// From four values of which the least and the greatest are bounds.
__device__ inline FloatRange of_corners(float p, float q, float r, float s, bool can_be_nan) {
    if (p != p || q != q || r != r || s != s) return FloatRange::any();
    return {fminf(fminf(p, q), fminf(r, s)), fmaxf(fmaxf(p, q), fmaxf(r, s)), can_be_nan};
}
// Infinite values may make a NaN of each other.
__device__ inline bool can_make_nan(FloatRange a, FloatRange b) {
    return a.can_be_nan || b.can_be_nan || !a.is_finite() || !b.is_finite();
}
__device__ inline FloatRange choose(Verdict test, FloatRange a, FloatRange b) {
    return !test.can_fail   ? a
           : !test.can_hold ? b
                            : FloatRange{fminf(a.low, b.low), fmaxf(a.high, b.high), a.can_be_nan || b.can_be_nan};
}
__device__ inline FloatRange add(FloatRange a, FloatRange b) {
    const float low = __fadd_rn(a.low, b.low), high = __fadd_rn(a.high, b.high);
    return of_corners(low, low, high, high, can_make_nan(a, b));
}
__device__ inline FloatRange negate(FloatRange a) {
    return {-a.high, -a.low, a.can_be_nan};
}
__device__ inline FloatRange subtract(FloatRange a, FloatRange b) {
    return add(a, negate(b));
}
__device__ inline FloatRange multiply(FloatRange a, FloatRange b) {
    return of_corners(__fmul_rn(a.low, b.low), __fmul_rn(a.low, b.high), __fmul_rn(a.high, b.low), __fmul_rn(a.high, b.high),
                      can_make_nan(a, b));
}
__device__ inline FloatRange divide(FloatRange a, FloatRange b) {
    if (!(b.low > 0 || b.high < 0)) return FloatRange::any();
    return of_corners(__fdiv_rn(a.low, b.low), __fdiv_rn(a.low, b.high), __fdiv_rn(a.high, b.low), __fdiv_rn(a.high, b.high),
                      can_make_nan(a, b));
}
__device__ inline FloatRange min(FloatRange a, FloatRange b) {
    return {fminf(a.low, b.low), fminf(a.high, b.high), a.can_be_nan || b.can_be_nan};
}
__device__ inline FloatRange max(FloatRange a, FloatRange b) {
    return {fmaxf(a.low, b.low), fmaxf(a.high, b.high), a.can_be_nan || b.can_be_nan};
}
__device__ inline FloatRange clamp(FloatRange a, FloatRange low, FloatRange high) {
    return low.high <= high.low && !low.can_be_nan && !high.can_be_nan ? min(max(a, low), high) : FloatRange::any();
}
__device__ inline FloatRange abs(FloatRange a) {
    return a.low >= 0   ? a
           : a.high <= 0 ? negate(a)
                         : FloatRange{0, fmaxf(-a.low, a.high), a.can_be_nan};
}
__device__ inline FloatRange floor(FloatRange a) {
    return {floorf(a.low), floorf(a.high), a.can_be_nan};
}
__device__ inline FloatRange ceiling(FloatRange a) {
    return {ceilf(a.low), ceilf(a.high), a.can_be_nan};
}
__device__ inline FloatRange truncate(FloatRange a) {
    return {truncf(a.low), truncf(a.high), a.can_be_nan};
}
__device__ inline FloatRange round(FloatRange a) {
    return {rintf(a.low), rintf(a.high), a.can_be_nan};
}
// Of a function that is not followed.
__device__ inline FloatRange any_float() {
    return FloatRange::any();
}
__device__ inline Verdict is_nan(FloatRange a) {
    return {a.can_be_nan, true};
}
__device__ inline Verdict is_finite(FloatRange a) {
    return {true, a.can_be_nan || !a.is_finite()};
}
__device__ inline Verdict less(FloatRange a, FloatRange b) {
    return {a.low < b.high, a.can_be_nan || b.can_be_nan || !(a.high < b.low)};
}
__device__ inline Verdict less_or_equal(FloatRange a, FloatRange b) {
    return {a.low <= b.high, a.can_be_nan || b.can_be_nan || !(a.high <= b.low)};
}
__device__ inline Verdict equal(FloatRange a, FloatRange b) {
    return {a.low <= b.high && b.low <= a.high, !(a.is_point() && b.is_point() && a.low == b.low)};
}

__device__ inline FloatRange to_float(IntRange a) {
    return {__int2float_rn(a.low), __int2float_rn(a.high), false};
}
__device__ inline IntRange to_int(FloatRange a) {
    const IntRange range{__float2int_rz(a.low), __float2int_rz(a.high)};
    return a.can_be_nan ? hull(range, {0, 0}) : range;
}

}  // namespace ranges

// ---- Elements of spans ------------------------------------------------------------------------------------------------------

// Bounds of the spans of a call, one list after another: of blocks of kNear elements, then of blocks of kFar, for the first
// batch * key_length elements rounded up. The host mirrors it byte for byte, and counts the blocks likewise.
struct SpanBounds {
    static constexpr int kNear = 64, kFar = 4096;

    // Bits of two ints or floats; of a block with a NaN the first is NaN. A bool is 0 or 1.
    struct Entry {
        int low, high;
    };
    Entry* entries;
    long long far_blocks;  // of each span

    __device__ Entry* near(int span) const { return entries + span * far_blocks * (kFar / kNear + 1); }
    __device__ Entry* far(int span) const { return near(span) + far_blocks * (kFar / kNear); }
};
static_assert(sizeof(SpanBounds) == 16);

namespace ranges {

__device__ inline int bits_of(int value) {
    return value;
}
__device__ inline int bits_of(bool value) {
    return value ? 1 : 0;
}
__device__ inline int bits_of(float value) {
    return __builtin_bit_cast(int, value);
}
template <typename T>
__device__ inline bool is_below(int a, int b) {
    if constexpr (kSame<T, float>)
        return __builtin_bit_cast(float, a) < __builtin_bit_cast(float, b);
    else
        return a < b;
}
template <typename T>
__device__ inline bool is_nan_of(int a) {
    if constexpr (kSame<T, float>)
        return __builtin_bit_cast(float, a) != __builtin_bit_cast(float, a);
    else
        return false;
}
template <typename T>
__device__ inline SpanBounds::Entry join(SpanBounds::Entry a, SpanBounds::Entry b) {
    if (is_nan_of<T>(a.low)) return a;
    if (is_nan_of<T>(b.low)) return b;
    return {is_below<T>(b.low, a.low) ? b.low : a.low, is_below<T>(a.high, b.high) ? b.high : a.high};
}
template <typename T>
__device__ inline auto range_of(SpanBounds::Entry entry) {
    if constexpr (kSame<T, float>) {
        const float low = __builtin_bit_cast(float, entry.low), high = __builtin_bit_cast(float, entry.high);
        return low == low ? FloatRange{low, high, false} : FloatRange::any();
    } else if constexpr (kSame<T, bool>) {
        return Verdict{entry.high != 0, entry.low == 0};
    } else {
        return IntRange{entry.low, entry.high};
    }
}
template <typename T>
__device__ inline auto any_of() {
    if constexpr (kSame<T, float>)
        return FloatRange::any();
    else if constexpr (kSame<T, bool>)
        return Verdict{true, true};
    else
        return IntRange::any();
}

// Elements at the indices of a range. Near blocks are looked at where they are few, and at most kMostBlocks in all.
template <typename T>
__device__ inline auto element(const Span<T>& span, const SpanBounds& bounds, int number, IntRange index) {
    constexpr int kMostBlocks = 8;
    using Entry = SpanBounds::Entry;
    if (index.is_point() && index.low >= 0 && index.low < span.length) {
        const int bits = bits_of(span.data[index.low]);
        return range_of<T>(Entry{bits, bits});
    }
    const bool is_past = index.high >= span.length, reads_zero = index.low < 0 || is_past;
    const int low = largest(index.low, 0), high = is_past ? static_cast<int>(span.length - 1) : index.high;
    if (low > high) return range_of<T>(Entry{0, 0});
    if (high >= bounds.far_blocks * SpanBounds::kFar) return any_of<T>();
    const bool is_near = high / SpanBounds::kNear - low / SpanBounds::kNear < kMostBlocks;
    const Entry* entries = is_near ? bounds.near(number) : bounds.far(number);
    const int first = is_near ? low / SpanBounds::kNear : low / SpanBounds::kFar;
    const int last = is_near ? high / SpanBounds::kNear : high / SpanBounds::kFar;
    if (last - first >= kMostBlocks) return any_of<T>();
    // Both ends at once: of most tiles they are all.
    Entry all = join<T>(entries[first], entries[last]);
#pragma unroll 1
    for (int block = first + 1; block < last; block++) all = join<T>(all, entries[block]);
    return range_of<T>(reads_zero ? join<T>(all, Entry{0, 0}) : all);
}

template <typename T>
__device__ inline IntRange length(const Span<T>& span) {
    return of(span.size());
}

}  // namespace ranges
}  // namespace attn::rules
