// Token selector with a given budget: each head keeps `count` tokens of a sequence, the window among them, those that the
// last queries attend to most (Token Sparse Attention, arXiv 2602.03216).
//
//   W              window (kWindow)
//   n = Lk - W     prefix: the tokens that have a score; the window is always kept
//   raw[h][t]      mean over the last min(W, Lq) queries of their softmax at token t (window_softmax.cuh)
//   pooled[h][t]   average of raw over kPool neighbours, zeroes outside the prefix
#pragma once

#include <attncompose/selection/highest_tokens.cuh>
#include <attncompose/selection/pooled_scores.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow, kPool, kRoundScoresToBFloat16.
template <typename Config>
struct FixedCount {
    static constexpr int kWindow = Config::kWindow;
    using Pooled = PooledScores<Config>;
    using Highest = HighestTokens<kWindow>;

    using RowPartials = typename WindowSoftmax<Config>::RowPartials;
    using ColumnScores = typename WindowSoftmax<Config>::ColumnScores;

    // pooled.
    struct Pool {
        static constexpr int kThreads = Pooled::kThreads, kTile = Pooled::kTile, kSharedBytes = Pooled::kSharedBytes;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float* raw_scores;
            float* scores;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Pooled::template pool<false>(problem, arguments.raw_scores, arguments.scores, nullptr, shared);
        }
    };

    // Each head's highest pooled scores and the window.
    struct Select {
        static constexpr int kThreads = Highest::kThreads, kTile = 1, kSharedBytes = Highest::kSharedBytes;
        static constexpr int kTeam = Highest::kTeam, kHeldKeys = Highest::kHeldKeys;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            int count;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            wait_for_earlier_kernels();
            Highest::keep(problem, arguments.scores, arguments.token_index, shared, [&](int prefix) {
                // Without a query nothing tells tokens apart.
                const bool has_query = sequence_of(problem, static_cast<int>(blockIdx.z)).query_length > 0;
                return has_query ? least(largest(arguments.count - kWindow, 0), prefix) : prefix;
            });
        }
    };
};

}  // namespace attn
