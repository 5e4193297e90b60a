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
    using Pooled = PooledScores<Config::kPool, Config::kRoundScoresToBFloat16>;
    using Highest = HighestTokens<kWindow>;

    using RowPartials = typename WindowSoftmax<Config>::RowPartials;
    using RowStats = typename WindowSoftmax<Config>::RowStats;
    using ColumnScores = typename WindowSoftmax<Config>::ColumnScores;

    // pooled. A thread owns a token.
    struct Pool {
        static constexpr int kThreads = 128;
        static constexpr int kTile = kThreads;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const float* raw_scores;
            float* scores;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z);
            const int prefix = prefix_length<kWindow>(sequence_of(problem, b));
            const int t = static_cast<int>(blockIdx.x) * kTile + static_cast<int>(threadIdx.x);
            if (t >= prefix) return;
            for (int h = 0; h < problem.query_heads; h++) {
                const long long row = row_of(problem, b, h) * problem.key_length;
                arguments.scores[row + t] = Pooled::at(arguments.raw_scores + row, prefix, t);
            }
        }
    };

    // Each head's highest pooled scores and the window.
    struct Select {
        static constexpr int kThreads = Highest::kThreads;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = Highest::kSharedBytes;

        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            int count;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const Sequence sequence = sequence_of(problem, static_cast<int>(blockIdx.z));
            const int prefix = prefix_length<kWindow>(sequence);
            // Without a query nothing tells tokens apart.
            const int kept = sequence.query_length > 0 ? least(largest(arguments.count - kWindow, 0), prefix) : prefix;
            Highest::keep(problem, arguments.scores, kept, arguments.token_index, shared);
        }
    };
};

}  // namespace attn
