// Token selector of Token Sparse Attention (arXiv 2602.03216): drops the tokens that together hold less than a share
// `coverage` of the attention that the last queries of a sequence pay to its prefix.
//
//   W              window (kWindow)
//   n = Lk - W     prefix: the tokens that have a score; the window is always kept
//   raw[h][t]      mean over the last min(W, Lq) queries of their softmax at token t (window_softmax.cuh)
//   pooled[h][t]   average of raw over kPool neighbours, zeroes outside the prefix
//   mean[t]        mean of pooled over the query heads
//   kept           tokens that every head of the sequence keeps: max(min_tokens, n - dropped) + W
//
// From raw on, every value is a float32 operation rounded on its own, or an integer: the same bits as on the CPU. The
// unit is compiled without fast-math options, which would break that.
#pragma once

#include <attncompose/selection/highest_tokens.cuh>
#include <attncompose/selection/mass_budget.cuh>
#include <attncompose/selection/pooled_scores.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow, kPool, kRoundScoresToBFloat16. Score: the pipeline's rules.
template <typename Config, ScoreHook Score>
struct TokenCoverage {
    static constexpr int kWindow = Config::kWindow;
    using Pooled = PooledScores<Config>;
    using Highest = HighestTokens<kWindow>;

    using RowPartials = typename WindowSoftmax<Config, Score>::RowPartials;
    using ColumnScores = typename WindowSoftmax<Config, Score>::ColumnScores;

    // pooled and mean.
    struct Pool {
        static constexpr int kThreads = Pooled::kThreads, kTile = Pooled::kTile, kSharedBytes = Pooled::kSharedBytes;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float* raw_scores;
            float* scores;       // [batch, query heads, key length]
            float* mean_scores;  // [batch, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Pooled::template pool<true>(problem, arguments.raw_scores, arguments.scores, arguments.mean_scores, shared);
        }
    };

    // kept.
    using Budget = CoverageBudget<kWindow>;

    // Each head's highest pooled scores and the window.
    struct Select {
        static constexpr int kThreads = Highest::kThreads, kTile = 1, kSharedBytes = Highest::kSharedBytes;
        static constexpr int kTeam = Highest::kTeam, kHeldKeys = Highest::kHeldKeys;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float* scores;
            const int* budget;
            TokenIndex token_index;
        };

        // It starts when Budget has waited for Pool, so scores can be read before the budget is there.
        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Highest::keep(problem, arguments.scores, arguments.token_index, shared, [&](int prefix) {
                wait_for_earlier_kernels();
                const int b = static_cast<int>(blockIdx.z);
                const int window = sequence_of(problem, b).key_length - prefix;
                return least(arguments.budget[b] - window, prefix);
            });
        }
    };
};

}  // namespace attn
