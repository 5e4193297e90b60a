// What token budgets share: the scores of the stage before, pooled and put together over heads; and each head's highest.
//
//   raw[h][t]     the stage's score of a prefix token, at least 0
//   pooled[h][t]  average of raw over kPool neighbours (pooled_scores.cuh)
//   scores[h][t]  what head h ranks by: pooled of h, or one value for all heads of a scope. A pair that prunes has -inf for the
//                 tokens that the selector before dropped.
//
// Every value is a float32 operation rounded on its own: the same bits as on the CPU.
#pragma once

#include <attncompose/selection/highest_tokens.cuh>
#include <attncompose/selection/pooled_scores.cuh>
#include <attncompose/warp_search.cuh>

namespace attn {

// AttnCompose.HeadScope.
enum class HeadScope { kQueryHead, kKeyValueHeadMean, kKeyValueHeadMax, kKeyValueHeadSum, kLayer };

// Config: kWindow, kPool, kRoundScoresToBFloat16, kHeads, kPrunes. A block owns a tile of tokens.
template <typename Config>
struct RankedScores {
    using Pooled = PooledScores<Config>;
    static constexpr HeadScope kScope = static_cast<HeadScope>(Config::kHeads);
    static constexpr bool kOfOneHead = kScope == HeadScope::kQueryHead;
    static constexpr int kTile = Pooled::kTile, kThreads = Pooled::kThreads, kWarps = Pooled::kWarps;
    static constexpr int kHeads = Pooled::kHeads;
    static constexpr int kWords = kTile / kWarp;  // a bit a token
    static constexpr int kSharedBytes = Pooled::kSharedBytes + kHeads * kWords * static_cast<int>(sizeof(unsigned));
    static constexpr float kLowest = -3.402823466e38f;

    // scores, and if wanted mean_scores [batch, key length], the mean over the heads in order; a token left out counts as 0.
    template <bool kWithMean>
    static __device__ void rank(const Problem& problem, const float* raw_scores, const TokenIndex& token_index, float* scores,
                                float* mean_scores, unsigned char* shared) {
        if constexpr (kOfOneHead && !Config::kPrunes)
            Pooled::template pool<kWithMean>(problem, raw_scores, scores, mean_scores, shared);
        else
            rank_together<kWithMean>(problem, raw_scores, token_index, scores, mean_scores, shared);
    }

  private:
    template <bool kWithMean>
    static __device__ void rank_together(const Problem& problem, const float* raw_scores, const TokenIndex& token_index,
                                         float* scores, float* mean_scores, unsigned char* shared) {
        wait_for_earlier_kernels();
        const int b = static_cast<int>(blockIdx.z);
        const int prefix = prefix_length<Config::kWindow>(sequence_of(problem, b));
        const int begin = static_cast<int>(blockIdx.x) * kTile, end = least(begin + kTile, prefix);
        if (begin >= prefix) return;
        Block block{problem, raw_scores, token_index, scores, shared, b, prefix, begin, end, 0};
        const int unit = kScope == HeadScope::kLayer ? problem.query_heads
                         : kOfOneHead                ? least(kHeads, problem.query_heads)
                                                     : problem.query_heads / problem.key_value_heads;
        for (int first = 0; first < problem.query_heads; first += unit) {
            const int heads = least(unit, problem.query_heads - first);
            if constexpr (kOfOneHead) {
                block.pool(first, heads);
                block.write(first, heads, [&](int h) { return block.own(h); });
            } else {
                float together = 0;
                for (int part = 0; part < heads; part += kHeads) {
                    const int some = least(kHeads, heads - part);
                    block.pool(first + part, some);
                    if (threadIdx.x < kTile)
                        for (int h = 0; h < some; h++) together = add(together, block.own(h));
                    __syncthreads();
                }
                together = finished(together, heads);
                for (int part = 0; part < heads; part += kHeads)
                    block.write(first + part, least(kHeads, heads - part), [&](int) { return together; });
            }
        }
        const int t = begin + static_cast<int>(threadIdx.x);
        if (kWithMean && threadIdx.x < kTile && t < end)
            mean_scores[static_cast<long long>(b) * problem.key_length + t] =
                canonical(__fdiv_rn(block.head_sum, static_cast<float>(problem.query_heads)));
    }

    static __device__ float add(float together, float score) {
        if constexpr (kScope == HeadScope::kKeyValueHeadMax)
            return score > together ? score : together;
        else
            return __fadd_rn(together, score);
    }

    static __device__ float finished(float together, int heads) {
        constexpr bool kMean = kScope == HeadScope::kKeyValueHeadMean || kScope == HeadScope::kLayer;
        return canonical(kMean ? __fdiv_rn(together, static_cast<float>(heads)) : together);
    }

    // A thread of the first kTile owns a token.
    struct Block {
        const Problem& problem;
        const float* raw_scores;
        const TokenIndex& token_index;
        float* scores;
        unsigned char* shared;
        int b, prefix, begin, end;
        float head_sum;

        __device__ float* pooled() const { return reinterpret_cast<float*>(shared + Pooled::kRowsBytes); }  // [kHeads, kTile]
        __device__ unsigned* candidates() const { return reinterpret_cast<unsigned*>(shared + Pooled::kSharedBytes); }

        __device__ float own(int h) const { return pooled()[h * kTile + static_cast<int>(threadIdx.x)]; }

        __device__ void pool(int first, int heads) const {
            float* row = reinterpret_cast<float*>(shared) + warp_id() * Pooled::kRow;
            for (int h = warp_id(); h < heads; h += kWarps) {
                const float* raw = raw_scores + row_of(problem, b, first + h) * problem.key_length;
                Pooled::pool_row(raw, begin, prefix, row, pooled() + h * kTile);
            }
            __syncthreads();
        }

        // Of the heads [first, first + heads), at most kHeads; score_of(h) is the thread's token's, h counted from first.
        template <typename ScoreOf>
        __device__ void write(int first, int heads, ScoreOf score_of) {
            if constexpr (Config::kPrunes) {
                for (int h = warp_id(); h < heads; h += kWarps) mark_candidates(first + h, candidates() + h * kWords);
                __syncthreads();
            }
            const int n = static_cast<int>(threadIdx.x);
            if (n < kTile && begin + n < end) {
                for (int h = 0; h < heads; h++) {
                    float score = score_of(h);
                    if constexpr (Config::kPrunes) {
                        const bool is_candidate = candidates()[h * kWords + n / kWarp] >> (n % kWarp) & 1;
                        score = !is_candidate ? -kInfinity : score > kLowest ? score : kLowest;  // NaN ranks lowest of them
                    }
                    scores[row_of(problem, b, first + h) * problem.key_length + begin + n] = score;
                    head_sum = __fadd_rn(head_sum, Config::kPrunes && score == -kInfinity ? 0 : score);
                }
            }
            __syncthreads();
        }

        // A bit for each token of the tile that the selector before kept.
        __device__ void mark_candidates(int h, unsigned* words) const {
            const long long row = token_index.row(problem, b, h);
            const int* positions = token_index.positions_of(row);
            const int count = token_index.key_count[row];
            if (lane_id() < kWords) words[lane_id()] = 0;
            __syncwarp();
            const int first = lower_bound(positions, count, begin);
            for (int i = first + lane_id(); i < least(first + kTile, count); i += kWarp) {
                const int n = positions[i] - begin;
                if (n < kTile) atomicOr(words + n / kWarp, 1u << n % kWarp);
            }
        }
    };
};

// Config: as for RankedScores. kSharedBytes is what a budget needs beside the choice, at the same place.
template <typename Config, int kBudgetBytes = 0>
struct RankedTokens {
    static constexpr int kWindow = Config::kWindow;
    using Ranked = RankedScores<Config>;
    using Highest = HighestTokens<kWindow, kBudgetBytes>;

    // Launches of the phases that all budgets have.
    struct PoolLaunch {
        static constexpr int kThreads = Ranked::kThreads, kTile = Ranked::kTile, kSharedBytes = Ranked::kSharedBytes;
        static constexpr bool kWaits = true;
    };
    struct SelectLaunch {
        static constexpr int kThreads = Highest::kThreads, kTile = 1, kSharedBytes = Highest::kSharedBytes;
        static constexpr int kTeam = Highest::kTeam, kHeldKeys = Highest::kHeldKeys;
        static constexpr bool kWaits = true;
    };

    struct Pool : PoolLaunch {
        struct Arguments {
            const float* raw_scores;
            TokenIndex token_index;  // of the selector before, where there is one
            float* scores;           // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::template rank<false>(problem, arguments.raw_scores, arguments.token_index, arguments.scores, nullptr, shared);
        }
    };

    // Tokens of the prefix that the block's head may keep at most. The last kWindow tokens are among those of the selector
    // before. Asked for once more after the choice was written, it does not change what follows from it.
    static __device__ int candidates(const Problem& problem, const TokenIndex& token_index, int prefix) {
        if constexpr (Config::kPrunes) {
            const int b = static_cast<int>(blockIdx.z);
            const int window = sequence_of(problem, b).key_length - prefix;
            return token_index.key_count[token_index.row(problem, b, static_cast<int>(blockIdx.y))] - window;
        } else {
            return prefix;
        }
    }

    // Without a query nothing tells tokens apart.
    static __device__ bool has_query(const Problem& problem) {
        return sequence_of(problem, static_cast<int>(blockIdx.z)).query_length > 0;
    }

    // Keeps kept_of(prefix) tokens of the prefix, where so many may be kept.
    template <typename KeptOf>
    static __device__ void keep(const Problem& problem, const float* scores, const TokenIndex& token_index, unsigned char* shared,
                                KeptOf kept_of) {
        wait_for_earlier_kernels();
        Highest::keep(problem, scores, token_index, shared, [&](int prefix) {
            const int most = candidates(problem, token_index, prefix);
            return has_query(problem) ? least(largest(kept_of(prefix), 0), most) : most;
        });
    }
};

}  // namespace attn
