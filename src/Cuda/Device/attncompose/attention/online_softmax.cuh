// Softmax over keys that arrive tile by tile, in base 2.
//
//   s    scores times log2(e)          m    about the largest s so far          l    sum of 2^(s - m) so far
//   The result so far is always o / l with o = sum of 2^(s - m) v; another m rescales l and o by 2^(m_old - m_new).
//
// m may lag behind the largest s, for o / l is the same with any m that keeps both in range: then few tiles but the first have to
// rescale (as in FlashAttention-4). But the weight of that s is then no longer 1, which is exact in every type, while l counts weights
// before they are rounded; so m lags only where that weight is at most half of the sum with it.
#pragma once

#include <attncompose/tile.cuh>

namespace attn {

// Multiplies 16 rows of C fragments by one factor a row.
template <int kColumns>
__device__ inline void rescale(float (&o)[kColumns][4], const float (&factor)[2]) {
#pragma unroll
    for (int n = 0; n < kColumns; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) o[n][e] *= factor[e / 2];
}

// So that a float16 and the sum of 2^40 weights are in range.
inline constexpr float kLargestWeight = 256;

// State of the rows whose fragments a lane holds: row 16 a + l / 4 + 8 b at index [a][b]. l is this lane's share of the
// sum; the four lanes of a row add up theirs at the end.
template <int kRowTiles>
struct OnlineSoftmax {
    float m[kRowTiles][2], l[kRowTiles][2];

    __device__ OnlineSoftmax() {
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
            m[a][0] = m[a][1] = -kInfinity;
            l[a][0] = l[a][1] = 0;
        }
    }

    // Before the first tile: a term of the sum that has no value, at m in units of s. One lane of a row has it in its share.
    __device__ void start_with(int a, int b, float logit) {
        if (logit == -kInfinity) return;
        m[a][b] = logit;
        l[a][b] = lane_id() % 4 == 0 ? 1 : 0;
    }

    // Turns the scores of a tile into 2^(factor (s - m)) and rescales o. kGuarded where all of a row's scores so far may be
    // -inf, which would make -inf - -inf; the caller leaves it out where the mask alone cannot do that.
    template <bool kGuarded, int kColumns, int kDim>
    __device__ void update(float (&s)[kRowTiles][kColumns][4], float (&o)[kRowTiles][kDim][4], float factor) {
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
            float rescale[2];
            if (weigh<kGuarded>(a, s[a], factor, rescale)) attn::rescale(o[a], rescale);
        }
    }

    // The first half of that, for 16 rows: s becomes 2^(factor (s - m)), with m in units of s and factor > 0. Returns whether o
    // is to be multiplied by `rescale`, the same for a warp.
    template <bool kGuarded, int kColumns>
    __device__ bool weigh(int a, float (&s)[kColumns][4], float factor, float (&rescale)[2]) {
        float highest[2], peak[2];
        find_highest(s, highest);
#pragma unroll
        for (int b = 0; b < 2; b++) peak[b] = ptx::exp2(fmaf(highest[b], factor, -origin<kGuarded>(a, b, factor)));
        const bool rescales = outgrows(a, peak);
        if (rescales) raise<kGuarded>(a, highest, factor, rescale);
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const float from = origin<kGuarded>(a, b, factor);
#pragma unroll
            for (int n = 0; n < kColumns; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) s[n][2 * b + e] = ptx::exp2(fmaf(s[n][2 * b + e], factor, -from));
                l[a][b] += s[n][2 * b] + s[n][2 * b + 1];
            }
        }
        return rescales;
    }

    // The same, with the weights as operands of the next product. They are computed from the m of before, and once more where one
    // is too large, so that nothing waits for the largest s; s is left as it is.
    template <Element T, bool kGuarded, int kColumns>
    __device__ bool weigh_ahead(int a, const float (&s)[kColumns][4], unsigned (&p)[kColumns / 2][4], float factor, float (&rescale)[2]) {
        const float from[2] = {origin<kGuarded>(a, 0, factor), origin<kGuarded>(a, 1, factor)};
        float peak[2] = {0, 0}, sum[2] = {l[a][0], l[a][1]};
#pragma unroll
        for (int n = 0; n < kColumns; n++)
#pragma unroll
            for (int b = 0; b < 2; b++) put_weights<T>(s, p, n, b, factor, from[b], peak[b], sum[b]);
        ptx::pin(p);  // or the compiler would move them behind the branch
        if (!outgrows(a, peak)) {
            l[a][0] = sum[0], l[a][1] = sum[1];
            return false;
        }
        float highest[2];
        find_highest(s, highest);
        raise<kGuarded>(a, highest, factor, rescale);
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int n = 0; n < kColumns; n++) put_weights<T>(s, p, n, b, factor, origin<kGuarded>(a, b, factor), peak[b], l[a][b]);
        return true;
    }

    template <Element T, int kColumns>
    static __device__ void put_weights(const float (&s)[kColumns][4], unsigned (&p)[kColumns / 2][4], int n, int b, float factor, float from,
                                       float& peak, float& sum) {
        const float left = ptx::exp2(fmaf(s[n][2 * b], factor, -from)), right = ptx::exp2(fmaf(s[n][2 * b + 1], factor, -from));
        peak = fmaxf(peak, fmaxf(left, right));
        sum += left + right;
        p[n / 2][n % 2 * 2 + b] = ptx::pack<T>(left, right);
    }

    template <bool kGuarded>
    __device__ float origin(int a, int b, float factor) const {
        return kGuarded && m[a][b] == -kInfinity ? 0 : __fmul_rn(m[a][b], factor);
    }

    template <int kColumns>
    static __device__ void find_highest(const float (&s)[kColumns][4], float (&highest)[2]) {
#pragma unroll
        for (int b = 0; b < 2; b++) {
            highest[b] = -kInfinity;
#pragma unroll
            for (int n = 0; n < kColumns; n++) highest[b] = fmaxf(highest[b], fmaxf(s[n][2 * b], s[n][2 * b + 1]));
        }
    }

    // Whether m is to be the largest s again in some row of the warp, `peak` being a lane's largest weight of a tile and l its share of
    // the sum before: the same in all lanes.
    __device__ bool outgrows(int a, const float (&peak)[2]) const {
        bool any = false;
#pragma unroll
        for (int b = 0; b < 2; b++)
            any |= peak[b] > fminf(fmaxf(l[a][b], 1), kLargestWeight) || m[a][b] == -kInfinity;
        return __any_sync(kAllLanes, any);
    }

    // Makes m the largest s so far, `highest` being that of a lane's scores; l is multiplied by `rescale`.
    template <bool kGuarded>
    __device__ void raise(int a, const float (&highest)[2], float factor, float (&rescale)[2]) {
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const float before = m[a][b];
            m[a][b] = fmaxf(before, row_max(highest[b]));
            // Rounded as the origin before was, so that an unchanged m gives 1: what a fused product leaves is not 0, and over
            // thousands of tiles the sum would drift.
            rescale[b] = ptx::exp2(__fmul_rn(before, factor) - origin<kGuarded>(a, b, factor));
            l[a][b] *= rescale[b];
        }
    }

    // After the last tile: whole sums, the same in all four lanes of a row.
    __device__ void finish() {
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
            l[a][0] = row_sum(l[a][0]);
            l[a][1] = row_sum(l[a][1]);
        }
    }

    // What o is multiplied by; 0 for a row that saw no key.
    __device__ float normalizer(int a, int b) const {
        return l[a][b] == 0 ? 0 : __fdividef(1, l[a][b]);
    }

    // Natural logarithm of the sum of exponentials; -inf for a row that saw no key.
    __device__ float log_sum_exp(int a, int b, float factor = 1) const {
        return l[a][b] == 0 ? -kInfinity : m[a][b] * factor * kLn2 + logf(l[a][b]);
    }
};

}  // namespace attn
