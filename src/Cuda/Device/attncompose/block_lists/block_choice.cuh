// Which of many scores are kept: the highest few, or the fewest that together hold a share of the mass. Ties go to the lower
// index. Integers only, so that every machine decides alike from the same scores.
//
//   key    rank_key of a score
//   mass   of a score p, a probability or a mean of them: trunc(p 2^39), 0 for p <= 0 and NaN; p counts as 1 beyond 1. So
//          2^24 scores fit 64 bits, and any number whose sum is that
//   cut    a score is kept where its key is above the cut's, and where it equals it and is among the first `ties` that do
#pragma once

#include <attncompose/block_lists/key_descent.cuh>
#include <attncompose/selection/score_order.cuh>

namespace attn {

struct Cut {
    unsigned key;
    int ties;
    int kept;  // scores that are kept

    static __device__ Cut everything(int count) { return {0, count, count}; }
    static __device__ Cut nothing() { return {0xFFFFFFFFu, 0, 0}; }
};

__device__ inline unsigned long long fixed_mass(float p) {
    return p > 0 ? static_cast<unsigned long long>(least(p, 1.0f) * 549755813888.0f) : 0;
}

__device__ inline unsigned long long fixed_mass_of_key(unsigned key) {
    return key >> 31 ? fixed_mass(__uint_as_float(key ^ 0x80000000u)) : 0;
}

// ceil(sum / mass), below 2^31; mass is not 0. The operator would be a call, and a call spills.
__device__ inline int quotient_up(unsigned long long sum, unsigned long long mass) {
    sum--;
    int result = 0;
    for (int bit = 30; bit >= 0; bit--) {
        if (mass > sum >> bit) continue;
        sum -= mass << bit;
        result |= 1 << bit;
    }
    return result + 1;
}

// All threads of a block of kThreads call these, and all get the result. score(i) is score i, 0 <= i < count; it is asked for
// several times.
template <int kThreads>
struct BlockChoice {
    static constexpr int kWarps = kThreads / kWarp;
    using Counts = KeyDescent<unsigned, kThreads>;
    using Masses = KeyDescent<unsigned long long, kThreads>;

    static constexpr int kFew = kThreads;  // scores that are ranked without a descent, one a thread

    struct Shared {
        union {
            typename Counts::Shared counts;
            typename Masses::Shared masses;
            uint4 few[kFew / 4];  // keys
        };
        unsigned long long sums[kWarps];
        int above[kWarps], tied[kWarps];
    };

    // The `wanted` highest scores.
    template <typename ScoreOf>
    static __device__ Cut highest(Shared& shared, int count, int wanted, ScoreOf score) {
        if (wanted <= 0) return Cut::nothing();
        if (wanted >= count) return Cut::everything(count);
        __syncthreads();  // an earlier use of the histogram is over
        const auto crossing = Counts::find(shared.counts, count, static_cast<unsigned>(wanted),
                                                           [&](int i, unsigned& key, unsigned& weight) {
                                                               key = rank_key(score(i));
                                                               weight = 1;
                                                           });
        return {crossing.key, wanted - static_cast<int>(crossing.before), wanted};
    }

    // The fewest scores, highest first, whose masses sum to ceil(share * their total): none where that is 0.
    template <typename ScoreOf>
    static __device__ Cut covering(Shared& shared, int count, double share, ScoreOf score) {
        unsigned long long total = 0;
        for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) total += fixed_mass(score(i));
        total = block_reduce<kThreads>(total, shared.sums, Sum{});
        return reaching(shared, count, coverage_target(share, total), score);
    }

    // The same for a target mass, at most the total.
    template <typename ScoreOf>
    static __device__ Cut reaching(Shared& shared, int count, unsigned long long target, ScoreOf score) {
        if (target == 0) return Cut::nothing();
        __syncthreads();  // an earlier use of the histogram is over
        const auto crossing = Masses::find(shared.masses, count, target,
                                                           [&](int i, unsigned& key, unsigned long long& mass) {
                                                               key = rank_key(score(i));
                                                               mass = fixed_mass_of_key(key);
                                                           });
        const int ties = quotient_up(target - crossing.before, fixed_mass_of_key(crossing.key));
        unsigned long long above = 0;
        for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
            above += rank_key(score(i)) > crossing.key;
        above = block_reduce<kThreads>(above, shared.sums, Sum{});
        return {crossing.key, ties, static_cast<int>(above) + ties};
    }

    // Walks the scores in order, 32 at a time: visit(first, mask, before) says that of the scores [first, first + 32) those of
    // the mask's bits are kept, and that `before` scores below `first` are. Whole warps call it, each for a run of its own that
    // begins at a multiple of 64.
    template <typename ScoreOf, typename Visit>
    static __device__ void walk(Shared& shared, int count, Cut cut, ScoreOf score, Visit visit) {
        const int run = divide_up(divide_up(count, kWarps), 64) * 64;
        const int begin = least(warp_id() * run, count), end = least(begin + run, count);
        int above = 0, tied = 0;
        for (int i = begin + lane_id(); i < end; i += kWarp) {
            const unsigned key = rank_key(score(i));
            above += key > cut.key;
            tied += key == cut.key;
        }
        above = warp_reduce(above, Sum{});
        tied = warp_reduce(tied, Sum{});
        __syncthreads();  // an earlier use of the sums is over
        if (lane_id() == 0) {
            shared.above[warp_id()] = above;
            shared.tied[warp_id()] = tied;
        }
        __syncthreads();
        int above_before = 0, tied_before = 0;
        for (int warp = 0; warp < warp_id(); warp++) {
            above_before += shared.above[warp];
            tied_before += shared.tied[warp];
        }
        int before = above_before + least(tied_before, cut.ties);
        const unsigned lower_lanes = (1u << lane_id()) - 1;
        for (int first = begin; first < end; first += kWarp) {
            const int i = first + lane_id();
            const unsigned key = i < end ? rank_key(score(i)) : 0;
            const bool is_tied = i < end && key == cut.key;
            const unsigned ties = __ballot_sync(kAllLanes, is_tied);
            const bool kept =
                is_tied ? tied_before + __popc(ties & lower_lanes) < cut.ties : i < end && key > cut.key;
            const unsigned mask = __ballot_sync(kAllLanes, kept);
            visit(first, mask, before);
            before += __popc(mask);
            tied_before += __popc(ties);
        }
    }

    // Bit i of the words says whether score i is kept; every word that holds one of the `count` bits is written.
    template <typename ScoreOf>
    static __device__ void mark(Shared& shared, int count, Cut cut, ScoreOf score, unsigned long long* words) {
        walk(shared, count, cut, score, [&](int first, unsigned mask, int) {
            if (lane_id() == 0) write_half(words, first / 32, mask, count);
        });
    }

    // The same for the `wanted` highest scores.
    template <typename ScoreOf>
    static __device__ void mark_highest(Shared& shared, int count, int wanted, ScoreOf score, unsigned long long* words) {
        if (count <= kFew)
            mark_few(shared, count, wanted, score, words);
        else
            mark(shared, count, highest(shared, count, wanted, score), score, words);
    }

    // The kept scores' indices, ascending.
    template <typename ScoreOf>
    static __device__ void collect(Shared& shared, int count, Cut cut, ScoreOf score, int* indices) {
        walk(shared, count, cut, score, [&](int first, unsigned mask, int before) {
            if (mask >> lane_id() & 1) indices[before + __popc(mask & ((1u << lane_id()) - 1))] = first + lane_id();
        });
    }

  private:
    // Each thread has a score, and counts those that come before it: four passes of a descent take longer.
    template <typename ScoreOf>
    static __device__ void mark_few(Shared& shared, int count, int wanted, ScoreOf score, unsigned long long* words) {
        const int own = static_cast<int>(threadIdx.x);
        const unsigned key = own < count ? rank_key(score(own)) : 0;
        __syncthreads();  // an earlier use of the keys is over
        reinterpret_cast<unsigned*>(shared.few)[own] = key;
        __syncthreads();
        if (warp_id() * kWarp >= count) return;
        int before = 0;
#pragma unroll 4
        for (int i = 0; i < count; i += 4) {  // those past the end, 0, come before none
            const uint4 quad = shared.few[i / 4];
            before += quad.x + (i < own) > key;  // the lower index, where they are equal
            before += quad.y + (i + 1 < own) > key;
            before += quad.z + (i + 2 < own) > key;
            before += quad.w + (i + 3 < own) > key;
        }
        const unsigned kept = __ballot_sync(kAllLanes, own < count && before < wanted);
        if (lane_id() == 0) write_half(words, warp_id(), kept, count);
    }

    // Bits [32 half, 32 half + 32) of the words, and zeroes for the rest of a word where there are no more of `count` bits.
    static __device__ void write_half(unsigned long long* words, int half, unsigned bits, int count) {
        auto* halves = reinterpret_cast<unsigned*>(words);
        halves[half] = bits;
        if (half % 2 == 0 && half * 32 + 32 >= count) halves[half + 1] = 0;
    }
};

}  // namespace attn
