// Token budget: each head keeps the fewest of its highest-scored tokens that together hold a share `p` of its scores
// (Twilight, arXiv 2502.02770), and the window.
#pragma once

#include <attncompose/selection/mass_budget.cuh>
#include <attncompose/selection/ranked_tokens.cuh>

namespace attn {

// Config: as for RankedTokens.
template <typename Config>
struct TopP : RankedTokens<Config, static_cast<int>(sizeof(typename MassCut<1024>::Shared))> {
    using Cut = MassCut<1024>;
    using Ranked = RankedTokens<Config, static_cast<int>(sizeof(typename Cut::Shared))>;
    using Keys = typename Ranked::Highest::Keys;
    static_assert(Ranked::Highest::kThreads == 1024);

    struct Select : Ranked::SelectLaunch {
        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            double p;
            int min_tokens;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            wait_for_earlier_kernels();
            const auto kept_of = [&](const Keys& keys, const Team& team, int prefix) {
                const int most = Ranked::candidates(problem, arguments.token_index, prefix);
                auto& cut = *reinterpret_cast<typename Cut::Shared*>(shared);
                const int wanted = kept_by_mass(arguments, keys, team, prefix, cut);
                return Ranked::has_query(problem) ? least(largest(wanted, arguments.min_tokens), most) : most;
            };
            Ranked::Highest::keep_by_keys(problem, arguments.scores, arguments.token_index, shared, kept_of);
        }
    };

    // Rank keys of scores above 0 ascend with their bits.
    static __device__ unsigned mass_key_of(unsigned rank) { return rank > 0x80000000u ? rank ^ 0x80000000u : 0; }

    // NaN is the lowest rank key, infinity and what cannot be are the highest ones.
    static __device__ unsigned finite_mass_key_of(unsigned rank) {
        return rank == 0 || rank >= 0xFF800000u ? kNotFinite : mass_key_of(rank);
    }

    // The same for all threads of the team.
    static __device__ int kept_by_mass(const typename Select::Arguments& arguments, const Keys& keys, const Team& team, int prefix,
                                       typename Cut::Shared& shared) {
        const unsigned highest = Cut::highest(keys, team, shared, finite_mass_key_of);
        if (highest == 0 || highest == kNotFinite) return prefix;
        const int kept = keys.is_held() ? kept_of(arguments, keys.from_memory(), highest, prefix, team, shared)
                                        : kept_of(arguments, keys.from_scores(), highest, prefix, team, shared);
        if (threadIdx.x == 0) shared.kept = kept;
        team.sync();
        return team.read(shared.kept, 0);
    }

    // What thread 0 of block 0 gets counts. The tokens that are dropped stay below what the kept ones need not hold.
    template <typename KeySource>
    static __device__ int kept_of(const typename Select::Arguments& arguments, const KeySource& keys, unsigned highest, int prefix,
                                  const Team& team, typename Cut::Shared& shared) {
        const MassScale scale(highest);
        const auto below =
            Cut::below(keys, team, shared, [=](unsigned rank) { return scale.mass(mass_key_of(rank)); },
                       [&](unsigned long long total) -> unsigned long long {
                           const unsigned long long share = coverage_target(arguments.p, total);
                           return share == 0 ? 0 : total - share + 1;
                       });
        return below.exists ? prefix - below.count : 0;
    }
};

}  // namespace attn
