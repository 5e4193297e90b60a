// Token budget: each head keeps a share `ratio` of a sequence's tokens, rounded up, the window among them.
#pragma once

#include <attncompose/selection/ranked_tokens.cuh>

namespace attn {

// Config: as for RankedTokens.
template <typename Config>
struct FixedRatio : RankedTokens<Config> {
    using Ranked = RankedTokens<Config>;

    struct Select : Ranked::SelectLaunch {
        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            double ratio;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::keep(problem, arguments.scores, arguments.token_index, shared, [&](int prefix) {
                const int tokens = sequence_of(problem, static_cast<int>(blockIdx.z)).key_length;
                const int count = __double2int_ru(__dmul_rn(arguments.ratio, static_cast<double>(tokens)));
                return count - (tokens - prefix);
            });
        }
    };
};

}  // namespace attn
