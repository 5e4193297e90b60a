// Softmax over keys that arrive tile by tile, in base 2.
//
//   s    scores times log2(e)          m    largest s so far          l    sum of 2^(s - m) so far
//   The result so far is always o / l with o = sum of 2^(s - m) v; a larger m rescales l and o by 2^(m_old - m_new).
#pragma once

#include <attncompose/tile.cuh>

namespace attn {

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

    // Turns the scores of a tile into 2^(s - m) and rescales o. kGuarded where all of a row's scores so far may be
    // -inf, which would make -inf - -inf; the caller leaves it out where the mask alone cannot do that.
    template <bool kGuarded, int kColumns, int kDim>
    __device__ void update(float (&s)[kRowTiles][kColumns][4], float (&o)[kRowTiles][kDim][4]) {
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
            for (int b = 0; b < 2; b++) {
                float highest = m[a][b];
#pragma unroll
                for (int n = 0; n < kColumns; n++) highest = fmaxf(highest, fmaxf(s[a][n][2 * b], s[a][n][2 * b + 1]));
                highest = row_max(highest);
                float origin = kGuarded && highest == -kInfinity ? 0 : highest;
                float rescale = ptx::exp2(m[a][b] - origin);
                float sum = l[a][b] * rescale;
#pragma unroll
                for (int n = 0; n < kColumns; n++) {
                    s[a][n][2 * b] = ptx::exp2(s[a][n][2 * b] - origin);
                    s[a][n][2 * b + 1] = ptx::exp2(s[a][n][2 * b + 1] - origin);
                    sum += s[a][n][2 * b] + s[a][n][2 * b + 1];
                }
#pragma unroll
                for (int n = 0; n < kDim; n++) {
                    o[a][n][2 * b] *= rescale;
                    o[a][n][2 * b + 1] *= rescale;
                }
                m[a][b] = highest;
                l[a][b] = sum;
            }
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
    __device__ float log_sum_exp(int a, int b) const {
        return l[a][b] == 0 ? -kInfinity : m[a][b] * kLn2 + logf(l[a][b]);
    }
};

}  // namespace attn
