// Softmax over keys that arrive tile by tile, in base 2.
//
//   s    scores times log2(e)          m    largest s so far          l    sum of 2^(s - m) so far
//   The result so far is always o / l with o = sum of 2^(s - m) v; a larger m rescales l and o by 2^(m_old - m_new).
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
            weigh<kGuarded>(a, s[a], factor, rescale);
            attn::rescale(o[a], rescale);
        }
    }

    // The first half of that, for 16 rows: s becomes 2^(factor (s - m)), with m in units of s and factor > 0, and o is to be
    // multiplied by `rescale`.
    template <bool kGuarded, int kColumns>
    __device__ void weigh(int a, float (&s)[kColumns][4], float factor, float (&rescale)[2]) {
#pragma unroll
        for (int b = 0; b < 2; b++) {
            float highest = m[a][b];
#pragma unroll
            for (int n = 0; n < kColumns; n++) highest = fmaxf(highest, fmaxf(s[n][2 * b], s[n][2 * b + 1]));
            highest = row_max(highest);
            const float origin = kGuarded && highest == -kInfinity ? 0 : __fmul_rn(highest, factor);
            // Rounded as the origin before was, so that an unchanged m gives 1: what a fused product leaves is not 0, and over
            // thousands of tiles the sum would drift.
            rescale[b] = ptx::exp2(__fmul_rn(m[a][b], factor) - origin);
            float sum = l[a][b] * rescale[b];
#pragma unroll
            for (int n = 0; n < kColumns; n++) {
                s[n][2 * b] = ptx::exp2(fmaf(s[n][2 * b], factor, -origin));
                s[n][2 * b + 1] = ptx::exp2(fmaf(s[n][2 * b + 1], factor, -origin));
                sum += s[n][2 * b] + s[n][2 * b + 1];
            }
            m[a][b] = highest;
            l[a][b] = sum;
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
        return l[a][b] == 0 ? 0 : 1 / l[a][b];
    }

    // Natural logarithm of the sum of exponentials; -inf for a row that saw no key.
    __device__ float log_sum_exp(int a, int b, float factor = 1) const {
        return l[a][b] == 0 ? -kInfinity : m[a][b] * factor * kLn2 + logf(l[a][b]);
    }
};

}  // namespace attn
