// Token budget of Token Sparse Attention (arXiv 2602.03216) over any score: all heads of a layer keep equally many tokens; those
// of least mean score, which together hold less than a share `coverage` of it, are dropped.
#pragma once

#include <attncompose/selection/mass_budget.cuh>
#include <attncompose/selection/ranked_tokens.cuh>

namespace attn {

// Config: as for RankedTokens.
template <typename Config>
struct Coverage : RankedTokens<Config> {
    using Ranked = RankedTokens<Config>;

    struct Pool : Ranked::PoolLaunch {
        struct Arguments {
            const float* raw_scores;
            TokenIndex token_index;
            float* scores;       // [batch, query heads, key length]
            float* mean_scores;  // [batch, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::Ranked::template rank<true>(problem, arguments.raw_scores, arguments.token_index, arguments.scores,
                                                arguments.mean_scores, shared);
        }
    };

    using Budget = CoverageBudget<Ranked::kWindow>;

    struct Select : Ranked::SelectLaunch {
        struct Arguments {
            const float* scores;
            const int* budget;
            TokenIndex token_index;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::keep(problem, arguments.scores, arguments.token_index, shared, [&](int prefix) {
                const int b = static_cast<int>(blockIdx.z);
                return arguments.budget[b] - (sequence_of(problem, b).key_length - prefix);
            });
        }
    };
};

}  // namespace attn
