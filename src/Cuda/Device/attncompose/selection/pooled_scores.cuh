// Scores of neighbouring tokens averaged, so that a token is not torn out of what it stands in, and their mean over heads.
//
// Every value is a float32 operation rounded on its own: the same bits as on the CPU. The unit is compiled without fast-math
// options, which would break that.
#pragma once

#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kWindow, kPool, kRoundScoresToBFloat16. A block owns a tile of tokens, each of its
// warps some of the heads.
template <typename Config>
struct PooledScores {
    static constexpr int kPool = Config::kPool;
    static_assert(kPool >= 1 && kPool % 2 == 1);

    static constexpr int kThreads = 256;
    static constexpr int kWarps = kThreads / kWarp;
    static constexpr int kQuad = 4;             // tokens of a lane: they share most of their neighbours
    static constexpr int kTile = kQuad * kWarp;
    static constexpr int kMargin = divide_up(kPool / 2, kQuad) * kQuad;
    static constexpr int kRow = kTile + 2 * kMargin;  // of raw scores
    static constexpr int kHeads = 32;           // whose scores wait for their turn to be summed
    static constexpr int kRowsBytes = kWarps * kRow * static_cast<int>(sizeof(float));
    static constexpr int kSharedBytes = kRowsBytes + kHeads * kTile * static_cast<int>(sizeof(float));

    static __device__ float rounded(float score) {
        score = canonical(score);
        return Config::kRoundScoresToBFloat16 ? round_to_bf16(score) : score;
    }

    // scores [batch, query heads, key length] from raw ones of the same shape: the average over a token's kPool neighbours,
    // zeroes outside the prefix, summed from the left. And mean_scores [batch, key length], if wanted, summed over the heads
    // in order.
    template <bool kWithMean>
    static __device__ void pool(const Problem& problem, const float* raw_scores, float* scores, float* mean_scores,
                                unsigned char* shared) {
        float* row = reinterpret_cast<float*>(shared) + warp_id() * kRow;       // of this warp: token - begin + kMargin
        auto* pooled = reinterpret_cast<float*>(shared + kRowsBytes);           // [kHeads, kTile]
        wait_for_earlier_kernels();
        const int b = static_cast<int>(blockIdx.z);
        const int prefix = prefix_length<Config::kWindow>(sequence_of(problem, b));
        const int begin = static_cast<int>(blockIdx.x) * kTile, end = least(begin + kTile, prefix);
        if (begin >= prefix) return;
        float head_sum = 0;
        for (int first = 0; first < problem.query_heads; first += kHeads) {
            const int heads = least(kHeads, problem.query_heads - first);
            for (int h = warp_id(); h < heads; h += kWarps) {
                const long long offset = row_of(problem, b, first + h) * problem.key_length;
                pool_row(raw_scores + offset, begin, prefix, row, pooled + h * kTile);
#pragma unroll
                for (int n = lane_id(); n < kTile; n += kWarp)
                    if (begin + n < end) scores[offset + begin + n] = pooled[h * kTile + n];
            }
            if constexpr (kWithMean) {
                __syncthreads();
                if (threadIdx.x < kTile) {
#pragma unroll 8
                    for (int h = 0; h < heads; h++) head_sum = __fadd_rn(head_sum, pooled[h * kTile + threadIdx.x]);
                }
                __syncthreads();
            }
        }
        const int t = begin + static_cast<int>(threadIdx.x);
        if (kWithMean && threadIdx.x < kTile && t < end)
            mean_scores[static_cast<long long>(b) * problem.key_length + t] =
                canonical(__fdiv_rn(head_sum, static_cast<float>(problem.query_heads)));
    }

    // The averages of one head's tokens [begin, begin + kTile), by a warp, which sees them afterwards. `row` is the warp's own.
    static __device__ void pool_row(const float* raw, int begin, int prefix, float* row, float* pooled) {
        read(raw, begin - kMargin, prefix, row);
        const float4 quad = average(row + kQuad * lane_id() + kMargin);
        __syncwarp();  // the row has been read
        *reinterpret_cast<float4*>(pooled + kQuad * lane_id()) = quad;
        __syncwarp();
    }

  private:
    static __device__ void read(const float* raw, int begin, int prefix, float* row) {
        constexpr int kEach = divide_up(kRow, kWarp);
        float values[kEach];
#pragma unroll
        for (int n = 0; n < kEach; n++) {
            const int i = n * kWarp + lane_id(), t = begin + i;
            values[n] = i < kRow && t >= 0 && t < prefix ? raw[t] : 0;
        }
#pragma unroll
        for (int n = 0; n < kEach; n++)
            if (n * kWarp + lane_id() < kRow) row[n * kWarp + lane_id()] = rounded(values[n]);
        __syncwarp();
    }

    // Of four neighbouring tokens, the first of which is at `center`.
    static __device__ float4 average(const float* center) {
        float near[2 * kMargin + kQuad];
#pragma unroll
        for (int i = 0; i < 2 * kMargin + kQuad; i += kQuad) {
            const float4 quad = *reinterpret_cast<const float4*>(center - kMargin + i);
            near[i] = quad.x;
            near[i + 1] = quad.y;
            near[i + 2] = quad.z;
            near[i + 3] = quad.w;
        }
        float averages[kQuad];
#pragma unroll
        for (int n = 0; n < kQuad; n++) {
            float sum = 0;
#pragma unroll
            for (int offset = -(kPool / 2); offset <= kPool / 2; offset++) sum = __fadd_rn(sum, near[kMargin + n + offset]);
            averages[n] = rounded(__fdiv_rn(sum, static_cast<float>(kPool)));
        }
        return make_float4(averages[0], averages[1], averages[2], averages[3]);
    }
};

}  // namespace attn
