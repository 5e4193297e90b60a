// Token budget: each head keeps `count` tokens of a sequence, the window among them.
#pragma once

#include <attncompose/selection/ranked_tokens.cuh>

namespace attn {

// Config: as for RankedTokens.
template <typename Config>
struct FixedCount : RankedTokens<Config> {
    using Ranked = RankedTokens<Config>;

    struct Select : Ranked::SelectLaunch {
        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            int count;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::keep(problem, arguments.scores, arguments.token_index, shared,
                         [&](int) { return arguments.count - Ranked::kWindow; });
        }
    };
};

}  // namespace attn
