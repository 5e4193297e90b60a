// Token budget whose count falls with the layer (PyramidKV, arXiv 2406.02069): a straight line from the first layer to the
// last, whose mean is `count`; the window is among them.
#pragma once

#include <attncompose/selection/ranked_tokens.cuh>

namespace attn {

// Config: as for RankedTokens.
template <typename Config>
struct DepthSchedule : RankedTokens<Config> {
    using Ranked = RankedTokens<Config>;

    struct Select : Ranked::SelectLaunch {
        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            int count;
            int beta;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Ranked::keep(problem, arguments.scores, arguments.token_index, shared, [&](int) {
                const int last = largest(1, static_cast<int>(quotient(arguments.count, arguments.beta)));
                const int first = 2 * arguments.count - last, steps = problem.layers - 1;
                const unsigned long long fall = static_cast<unsigned long long>(first - last) * problem.layer;
                const int fallen = steps > 0 ? static_cast<int>(quotient(fall, steps)) : 0;
                return (steps > 0 ? first - fallen : arguments.count) - Ranked::kWindow;
            });
        }
    };
};

}  // namespace attn
