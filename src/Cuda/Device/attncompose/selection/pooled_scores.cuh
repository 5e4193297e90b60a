// Scores of neighbouring tokens averaged, so that a token is not torn out of what it stands in.
//
// Every value is a float32 operation rounded on its own: the same bits as on the CPU. The unit is compiled without fast-math
// options, which would break that.
#pragma once

#include <attncompose/selection/score_order.cuh>

namespace attn {

template <int kPool, bool kRoundToBFloat16>
struct PooledScores {
    static_assert(kPool >= 1 && kPool % 2 == 1);

    static __device__ float rounded(float score) {
        score = canonical(score);
        return kRoundToBFloat16 ? round_to_bf16(score) : score;
    }

    // Average of raw over the kPool neighbours of t < prefix, zeroes outside the prefix, summed from the left.
    static __device__ float at(const float* raw, int prefix, int t) {
        float sum = 0;
#pragma unroll
        for (int offset = -(kPool / 2); offset <= kPool / 2; offset++) {
            const int neighbour = t + offset;
            const bool inside = neighbour >= 0 && neighbour < prefix;
            sum = __fadd_rn(sum, inside ? rounded(raw[neighbour]) : 0.0f);
        }
        return rounded(__fdiv_rn(sum, static_cast<float>(kPool)));
    }
};

}  // namespace attn
