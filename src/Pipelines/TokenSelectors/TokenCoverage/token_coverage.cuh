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
    using Pooled = PooledScores<Config>;
    using Highest = HighestTokens<kWindow>;

    using RowPartials = typename WindowSoftmax<Config>::RowPartials;
    using ColumnScores = typename WindowSoftmax<Config>::ColumnScores;

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

    // kept. Tokens in ascending order of mass are dropped while their total stays below the target, and one more.
    struct Budget {
        static constexpr int kThreads = 1024;
        static constexpr int kTile = 1;
        static constexpr bool kWaits = true;
        using Descent = RadixDescent<unsigned long long, true, kThreads>;
        using Keys = HeldKeys<kThreads, finite_mass_key>;
        static constexpr int kTeam = Team::kMostBlocks;
        static constexpr int kHeldKeys = Keys::kMost;

        struct alignas(16) Shared {  // the held keys follow, which are read four at a time
            typename Descent::Shared descent;
            unsigned of_warps[kThreads / kWarp];
            unsigned highest, of_blocks[Team::kMostBlocks];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float* mean_scores;
            int* budget;  // [batch]: tokens kept, the window among them
            double coverage;
            int min_tokens;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared_memory) {
            wait_for_earlier_kernels();
            const int b = static_cast<int>(blockIdx.z);
            const Sequence sequence = sequence_of(problem, b);
            const int prefix = prefix_length<kWindow>(sequence);
            const Team team = Team::of_block();
            int kept = prefix;
            if (arguments.min_tokens < prefix) {
                const Keys keys(arguments.mean_scores + static_cast<long long>(b) * problem.key_length, Run(team, prefix),
                                shared_memory + kSharedBytes);
                Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
                const unsigned highest = highest_key(keys, team, shared);
                if (highest == 0 || highest == kNotFinite)
                    team.sync();  // others may still read what is this block's
                else
                    kept = keys.is_held() ? kept_prefix(arguments, keys.from_memory(), highest, prefix, team, shared)
                                          : kept_prefix(arguments, keys.from_scores(), highest, prefix, team, shared);
            }
            if (team.rank == 0 && threadIdx.x == 0) arguments.budget[b] = kept + sequence.key_length - prefix;
        }

        // What thread 0 of block 0 gets counts.
        template <typename KeySource>
        static __device__ int kept_prefix(const Arguments& arguments, const KeySource& keys, unsigned highest, int prefix,
                                          const Team& team, Shared& shared) {
            const MassScale scale(highest);
            const auto mass_of = [=](unsigned key) { return scale.mass(key); };
            const Descent descent{team, shared.descent};
            descent.start(keys, mass_of);
            unsigned long long target = 0;
            const auto target_of = [&](unsigned long long total) {
                return target = coverage_target(arguments.coverage, total);
            };
            const auto crossing = descent.finish(target_of, keys, mass_of);
            if (!crossing.exists) {
                team.sync();
                return prefix;
            }
            unsigned below = 0;
            for_each_key<kThreads>(keys, 0, keys.count, [&](unsigned key) { below += key < crossing.key; });
            below = block_reduce<kThreads>(below, shared.of_warps, Sum{});
            below = team.sum(below, shared.of_blocks);
            // The tokens at the crossing are equal: j of them stay below the target while before + j * mass < target.
            const int dropped_whole =
                static_cast<int>(below + quotient(target - crossing.before - 1, scale.mass(crossing.key)));
            const int dropped = dropped_whole == 0 ? 0 : dropped_whole + 1;
            return largest(arguments.min_tokens, prefix - dropped);
        }

        // Of the team's keys, which are read here.
        static __device__ unsigned highest_key(const Keys& keys, const Team& team, Shared& shared) {
            const auto larger = [](unsigned a, unsigned b) { return largest(a, b); };
            Descent{team, shared.descent}.clear();
            unsigned highest = 0;
            keys.load([&](unsigned key) { highest = largest(highest, key); });
            highest = block_reduce<kThreads>(highest, shared.of_warps, larger);
            if (team.is_alone()) return highest;
            if (threadIdx.x == 0) shared.highest = highest;
            team.sync();
            return warp_reduce(lane_id() < team.size ? team.read(shared.highest, lane_id()) : 0, larger);
        }
    };

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
