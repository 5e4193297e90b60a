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
#include <attncompose/selection/pooled_scores.cuh>
#include <attncompose/selection/radix_descent.cuh>
#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow, kPool, kRoundScoresToBFloat16.
template <typename Config>
struct TokenCoverage {
    static constexpr int kWindow = Config::kWindow;
    using Pooled = PooledScores<Config::kPool, Config::kRoundScoresToBFloat16>;
    using Highest = HighestTokens<kWindow>;

    using RowPartials = typename WindowSoftmax<Config>::RowPartials;
    using RowStats = typename WindowSoftmax<Config>::RowStats;
    using ColumnScores = typename WindowSoftmax<Config>::ColumnScores;

    // pooled and mean. A thread owns a token, so the order of the sums is that of the loops.
    struct Pool {
        static constexpr int kThreads = 128;
        static constexpr int kTile = kThreads;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const float* raw_scores;
            float* scores;       // [batch, query heads, key length]
            float* mean_scores;  // [batch, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z);
            const int prefix = prefix_length<kWindow>(sequence_of(problem, b));
            const int t = static_cast<int>(blockIdx.x) * kTile + static_cast<int>(threadIdx.x);
            if (t >= prefix) return;
            float head_sum = 0;
            for (int h = 0; h < problem.query_heads; h++) {
                const long long row = row_of(problem, b, h) * problem.key_length;
                const float pooled = Pooled::at(arguments.raw_scores + row, prefix, t);
                arguments.scores[row + t] = pooled;
                head_sum = __fadd_rn(head_sum, pooled);
            }
            arguments.mean_scores[static_cast<long long>(b) * problem.key_length + t] =
                canonical(__fdiv_rn(head_sum, static_cast<float>(problem.query_heads)));
        }
    };

    // kept. Tokens in ascending order of mass are dropped while their total stays below the target, and one more.
    struct Budget {
        static constexpr int kThreads = 512;
        static constexpr int kTile = 1;
        using Descent = RadixDescent<unsigned long long, kThreads>;

        struct Shared {
            typename Descent::Shared descent;
            unsigned long long sums[kThreads / kWarp];
            unsigned counts[kThreads / kWarp];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float* mean_scores;
            int* budget;  // [batch]: tokens kept, the window among them
            double coverage;
            int min_tokens;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const int b = static_cast<int>(blockIdx.z);
            const Sequence sequence = sequence_of(problem, b);
            const int prefix = prefix_length<kWindow>(sequence);
            int kept = prefix;
            if (arguments.min_tokens < prefix)
                kept = kept_prefix(arguments, arguments.mean_scores + static_cast<long long>(b) * problem.key_length,
                                   prefix, *reinterpret_cast<Shared*>(shared));
            if (threadIdx.x == 0) arguments.budget[b] = kept + sequence.key_length - prefix;
        }

        static __device__ int kept_prefix(const Arguments& arguments, const float* mean, int prefix, Shared& shared) {
            unsigned highest = 0;
            for (int t = static_cast<int>(threadIdx.x); t < prefix; t += kThreads) {
                // A mean that is infinite or NaN, of any sign, outranks every finite one.
                const unsigned key = is_finite(mean[t]) ? mass_key(mean[t]) : 0xFFFFFFFFu;
                highest = largest(highest, key);
            }
            highest =
                block_reduce<kThreads>(highest, shared.counts, [](unsigned a, unsigned b) { return largest(a, b); });
            if (highest == 0 || highest == 0xFFFFFFFFu) return prefix;

            const MassScale scale(highest);
            unsigned long long total = 0;
            for (int t = static_cast<int>(threadIdx.x); t < prefix; t += kThreads)
                total += scale.mass(mass_key(mean[t]));
            total = block_reduce<kThreads>(total, shared.sums, Sum{});
            const unsigned long long target = coverage_target(arguments.coverage, total);
            if (target == 0) return prefix;

            const auto crossing = Descent::template find<true>(shared.descent, prefix, target,
                                                               [&](int t, unsigned& key, unsigned long long& mass) {
                                                                   key = mass_key(mean[t]);
                                                                   mass = scale.mass(key);
                                                               });
            unsigned below = 0;
            for (int t = static_cast<int>(threadIdx.x); t < prefix; t += kThreads)
                below += mass_key(mean[t]) < crossing.key;
            below = block_reduce<kThreads>(below, shared.counts, Sum{});
            // The tokens at the crossing are equal: j of them stay below the target while before + j * mass < target.
            const int count =
                static_cast<int>(below + quotient(target - crossing.before - 1, scale.mass(crossing.key)));
            const int dropped = count == 0 ? 0 : count + 1;
            return largest(arguments.min_tokens, prefix - dropped);
        }
    };

    // Each head's highest pooled scores and the window.
    struct Select {
        static constexpr int kThreads = Highest::kThreads;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = Highest::kSharedBytes;

        struct Arguments {
            const float* scores;
            const int* budget;
            TokenIndex token_index;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const int b = static_cast<int>(blockIdx.z);
            const Sequence sequence = sequence_of(problem, b);
            const int prefix = prefix_length<kWindow>(sequence), window = sequence.key_length - prefix;
            const int kept = least(arguments.budget[b] - window, prefix);
            Highest::keep(problem, arguments.scores, kept, arguments.token_index, shared);
        }
    };
};

}  // namespace attn
