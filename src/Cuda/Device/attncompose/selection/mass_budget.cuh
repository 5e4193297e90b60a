// How many tokens hold a share of a mass, in integers: no sort, and the same on every machine.
#pragma once

#include <attncompose/selection/radix_descent.cuh>
#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window.cuh>

namespace attn {

// Keys ascend with the masses of their tokens. A team has a run of the keys each; all its threads call what is here.
template <int kThreads>
struct MassCut {
    using Descent = RadixDescent<unsigned long long, true, kThreads>;

    struct alignas(16) Shared {  // held keys may follow, which are read four at a time
        typename Descent::Shared descent;
        unsigned of_warps[kThreads / kWarp];
        unsigned highest, of_blocks[Team::kMostBlocks];
        int kept;
    };

    // The largest of value_of(key) over the team's keys, which are read here.
    template <typename Keys, typename ValueOf>
    static __device__ unsigned highest(const Keys& keys, const Team& team, Shared& shared, ValueOf value_of) {
        const auto larger = [](unsigned a, unsigned b) { return largest(a, b); };
        Descent{team, shared.descent}.clear();
        unsigned highest = 0;
        keys.load([&](unsigned key) { highest = largest(highest, value_of(key)); });
        highest = block_reduce<kThreads>(highest, shared.of_warps, larger);
        if (team.is_alone()) return highest;
        if (threadIdx.x == 0) shared.highest = highest;
        team.sync();
        return warp_reduce(lane_id() < team.size ? team.read(shared.highest, lane_id()) : 0, larger);
    }

    // How many tokens, taken in ascending order of mass, stay below a target together: exists is false where the target is
    // 0. target_of(total) is at most the total. What thread 0 of block 0 gets counts.
    struct Below {
        bool exists;
        int count;
    };
    template <typename KeySource, typename MassOf, typename TargetOf>
    static __device__ Below below(const KeySource& keys, const Team& team, Shared& shared, MassOf mass_of, TargetOf target_of) {
        const Descent descent{team, shared.descent};
        descent.start(keys, mass_of);
        unsigned long long target = 0;
        const auto keep_target = [&](unsigned long long total) { return target = target_of(total); };
        const auto crossing = descent.finish(keep_target, keys, mass_of);
        if (!crossing.exists) {
            team.sync();
            return {false, 0};
        }
        unsigned below = 0;
        for_each_key<kThreads>(keys, 0, keys.count, [&](unsigned key) { below += key < crossing.key; });
        below = block_reduce<kThreads>(below, shared.of_warps, Sum{});
        below = team.sum(below, shared.of_blocks);
        // The tokens at the crossing are equal: j of them stay below the target while before + j * mass < target.
        return {true, static_cast<int>(below + quotient(target - crossing.before - 1, mass_of(crossing.key)))};
    }
};

// How many tokens all heads of a sequence keep: those in ascending order of mean score are dropped while their total stays
// below a share of the mass, and one more.
template <int kWindow>
struct CoverageBudget {
    static constexpr int kThreads = 1024;
    static constexpr int kTile = 1;
    static constexpr bool kWaits = true;
    using Cut = MassCut<kThreads>;
    using Keys = HeldKeys<kThreads, finite_mass_key>;
    static constexpr int kTeam = Team::kMostBlocks;
    static constexpr int kHeldKeys = Keys::kMost;
    using Shared = typename Cut::Shared;
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
            const unsigned highest = Cut::highest(keys, team, shared, [](unsigned key) { return key; });
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
        const auto below =
            Cut::below(keys, team, shared, [=](unsigned key) { return scale.mass(key); },
                       [&](unsigned long long total) { return coverage_target(arguments.coverage, total); });
        const int dropped = below.count == 0 ? 0 : below.count + 1;
        return below.exists ? largest(arguments.min_tokens, prefix - dropped) : prefix;
    }
};

}  // namespace attn
