// How many scores, highest first, hold a share of their mass. A team of blocks counts; its descent holds the keys in shared
// memory, where those of block_choice.cuh, of any block size, look at the scores anew in each pass.
//
//   key, mass   rank_key of a score, and trunc(p 2^39) (block_choice.cuh)
//   target      ceil(share * mass of all scores)
//   count       the fewest scores whose masses sum to the target; none where that is 0
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/selection/held_keys.cuh>
#include <attncompose/selection/radix_descent.cuh>

namespace attn {

// Scores: what HeldKeys reads. All threads of a team call this.
template <typename Scores>
struct CoverageCount {
    static constexpr int kThreads = 1024;
    using Mass = unsigned long long;
    using Descent = RadixDescent<Mass, false, kThreads>;
    using Keys = HeldKeys<kThreads, rank_key, Scores>;

    struct alignas(16) Shared {  // held keys may follow, which are read four at a time
        typename Descent::Shared descent;
        unsigned of_warps[kThreads / kWarp], of_blocks[Team::kMostBlocks];
    };
    static_assert(Keys::kMost <= Descent::kMostKeys);  // held keys are added as they are loaded, in one go

    // Thread 0 of block 0 gets the count. A block may exit behind this.
    static __device__ int of(const Keys& keys, const Team& team, double share, Shared& shared) {
        const Descent descent{team, shared.descent};
        descent.clear();
        if (!keys.is_held()) {
            const auto scores = keys.from_scores();
            descent.start(scores, [](unsigned key) { return fixed_mass_of_key(key); });
            return finish(scores, descent, share, shared);
        }
        keys.load([&](unsigned key) { descent.add_first(key, fixed_mass_of_key(key)); });
        descent.end_first();
        return finish(keys.from_memory(), descent, share, shared);
    }

  private:
    template <typename KeySource>
    static __device__ int finish(const KeySource& keys, const Descent& descent, double share, Shared& shared) {
        Mass target = 0;
        const auto crossing = descent.finish([&](Mass total) { return target = coverage_target(share, total); }, keys,
                                             [](unsigned key) { return fixed_mass_of_key(key); });
        if (!crossing.exists) {
            descent.team.sync();  // others may still read what is this block's
            return 0;
        }
        unsigned above = 0;
        for_each_key<kThreads>(keys, 0, keys.count, [&](unsigned key) { above += key > crossing.key; });
        above = block_reduce<kThreads>(above, shared.of_warps, Sum{});
        above = descent.team.sum(above, shared.of_blocks);
        // Those at the crossing are equal: as many are taken as it takes to reach the target.
        return static_cast<int>(above) + quotient_up(target - crossing.before, fixed_mass_of_key(crossing.key));
    }
};

}  // namespace attn
