// Scores of neighbouring tokens averaged, so that a token is not torn out of what it stands in, and their mean over heads.
//
// Every value is a float32 operation rounded on its own: the same bits as on the CPU. The unit is compiled without fast-math
// options, which would break that.
#pragma once

#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kWindow, kPool, kRoundScoresToBFloat16. A block owns a tile of tokens, each of its warps some of the heads.
template <typename Config>
struct PooledScores {
    static constexpr int kPool = Config::kPool;
    static_assert(kPool >= 1 && kPool % 2 == 1);

    static constexpr int kThreads = 256;
    static constexpr int kWarps = kThreads / kWarp;
    static constexpr int kTile = kWarp;  // a lane for each token
    static constexpr int kHeads = 64;    // whose scores wait for their turn to be summed
    static constexpr int kSharedBytes = kHeads * kTile * static_cast<int>(sizeof(float));

    static __device__ float rounded(float score) {
        score = canonical(score);
        return Config::kRoundScoresToBFloat16 ? round_to_bf16(score) : score;
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

    // scores [batch, query heads, key length] from raw ones of the same shape; and mean_scores [batch, key length], if
    // wanted, summed over the heads in order.
    template <bool kWithMean>
    static __device__ void pool(const Problem& problem, const float* raw_scores, float* scores, float* mean_scores,
                                unsigned char* shared) {
        auto* pooled = reinterpret_cast<float*>(shared);  // [kHeads, kTile]
        wait_for_earlier_kernels();
        const int b = static_cast<int>(blockIdx.z);
        const int prefix = prefix_length<Config::kWindow>(sequence_of(problem, b));
        const int t = static_cast<int>(blockIdx.x) * kTile + lane_id();
        float head_sum = 0;
        for (int first = 0; first < problem.query_heads; first += kHeads) {
            const int end = least(first + kHeads, problem.query_heads);
#pragma unroll 4
            for (int h = first + warp_id(); h < end; h += kWarps) {
                if (t >= prefix) continue;
                const long long row = row_of(problem, b, h) * problem.key_length;
                const float score = at(raw_scores + row, prefix, t);
                scores[row + t] = score;
                if (kWithMean) pooled[(h - first) * kTile + lane_id()] = score;
            }
            if constexpr (kWithMean) {
                __syncthreads();
                if (warp_id() == 0 && t < prefix) {
#pragma unroll 8
                    for (int h = first; h < end; h++)
                        head_sum = __fadd_rn(head_sum, pooled[(h - first) * kTile + lane_id()]);
                }
                __syncthreads();
            }
        }
        if (kWithMean && warp_id() == 0 && t < prefix)
            mean_scores[static_cast<long long>(b) * problem.key_length + t] =
                canonical(__fdiv_rn(head_sum, static_cast<float>(problem.query_heads)));
    }
};

}  // namespace attn
