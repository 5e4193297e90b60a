// Finds the key at which a running total over keys in order crosses a target, digit by digit from the top, without a
// sort: the total of each digit's keys is known from a histogram, and only keys that share the digits found so far
// count on. The blocks of a team have a run of the keys each.
//
//   digit      8 bits: the keys of softmax scores share few exponents, so few digits of the first pass are in use
//   words      a digit's part of the histogram, one for each lane, so that lanes that meet at a digit do not meet at an
//              address or a bank. A 64-bit weight, a mass below 2^40, takes two of 20 bits each, which lanes l and
//              l + 16 share: memory adds 32 bits at once, not 64.
//   totals     weights of all digits, of one block's keys
//   place      of a digit, in the order in which they are summed
#pragma once

#include <attncompose/selection/block_reduce.cuh>
#include <attncompose/selection/held_keys.cuh>

namespace attn {

inline constexpr int kDigitBits = 8;
inline constexpr int kDigits = 1 << kDigitBits;

// Weight is unsigned (counts) or unsigned long long (masses).
template <typename Weight, bool kAscending, int kThreads>
struct RadixDescent {
    static constexpr bool kIsMass = sizeof(Weight) == 8;
    static constexpr int kWords = kWarp, kCopies = kIsMass ? kWords / 2 : kWords;
    static constexpr int kHalfBits = 20;
    // Keys that may be added before the words are folded away: so many of a copy cannot pass 32 bits.
    static constexpr int kMostKeys = kIsMass ? kCopies << (32 - kHalfBits) : 1 << 30;
    static constexpr int kParts = 4;  // threads that fold a digit
    static constexpr int kScanWarps = kDigits / kWarp;
    static constexpr int kFirstShift = 32 - kDigitBits;
    static_assert(kThreads == kParts * kDigits && kHalfBits * 2 == 40);

    struct Shared {
        unsigned words[kDigits * kWords];
        Weight totals[2][kDigits];  // by place, and by turns, so that a team synchronises once a pass
        Weight of_warps[kScanWarps];
        Weight before;
        unsigned digit;
    };

    struct Crossing {
        bool exists;    // the target is not 0
        unsigned key;   // of the keys at which the total reaches the target
        Weight before;  // weight of the keys that come before them
    };

    Team team;
    Shared& shared;

    // Before anything else. All threads of the team call it, as everything here.
    __device__ void clear() const {
        for (int i = static_cast<int>(threadIdx.x); i < kDigits * kWords; i += kThreads) shared.words[i] = 0;
        __syncthreads();
    }

    // The first pass, which needs no target: add_first() for every key, then end_first(); or start() with the keys.
    __device__ void add_first(unsigned key, Weight weight) const { add<kFirstShift>(key, weight); }
    __device__ void end_first() const {
        __syncthreads();
        fold<kFirstShift>(0);
    }
    template <typename Keys, typename WeightOf>
    __device__ void start(const Keys& keys, WeightOf weight_of) const {
        add_keys<kFirstShift>(0, keys, weight_of);
    }

    // The crossing of a target, at least 1 and at most the total; target_of(total) is asked for it once, by all threads. All
    // get the result.
    template <typename TargetOf, typename Keys, typename WeightOf>
    __device__ Crossing finish(TargetOf target_of, const Keys& keys, WeightOf weight_of) const {
        Crossing crossing{true, 0, 0};
        Weight target = 0;
        find_digit<kFirstShift>(crossing, target, target_of);
        if (!crossing.exists) return crossing;
        add_keys<16>(crossing.key, keys, weight_of);
        find_digit<16>(crossing, target, target_of);
        add_keys<8>(crossing.key, keys, weight_of);
        find_digit<8>(crossing, target, target_of);
        add_keys<0>(crossing.key, keys, weight_of);
        find_digit<0>(crossing, target, target_of);
        return crossing;
    }

  private:
    static __device__ int place_of(int digit) { return kAscending ? digit : kDigits - 1 - digit; }

    template <int kShift>
    __device__ Weight (&totals() const)[kDigits] {
        return shared.totals[kShift / kDigitBits % 2];
    }

    template <int kShift>
    __device__ void add(unsigned key, Weight weight) const {
        const unsigned digit = (key >> kShift) % kDigits;
        unsigned* word = &shared.words[digit * kWords + lane_id() % kCopies];
        if constexpr (kIsMass) {
            const unsigned low = static_cast<unsigned>(weight) & ((1u << kHalfBits) - 1);
            const unsigned high = static_cast<unsigned>(weight >> kHalfBits);
            if (low != 0) atomicAdd(word, low);
            if (high != 0) atomicAdd(word + kCopies, high);
        } else {
            atomicAdd(word, weight);
        }
    }

    // Totals of the digit at kShift over the keys that begin like `found`.
    template <int kShift, typename Keys, typename WeightOf>
    __device__ void add_keys(unsigned found, const Keys& keys, WeightOf weight_of) const {
        Weight total = 0;
        int begin = 0;
        do {
            const int end = begin + least(keys.count - begin, kMostKeys);
            for_each_key<kThreads>(keys, begin, end, [&](unsigned key) {
                if (kShift == kFirstShift || (key ^ found) >> (kShift + kDigitBits) % 32 == 0) add<kShift>(key, weight_of(key));
            });
            __syncthreads();
            total = fold<kShift>(total);
            begin = end;
            if (begin < keys.count) __syncthreads();
        } while (begin < keys.count);
    }

    // Adds to `before` a digit's words, which are 0 then, and makes that the digit's total. kParts threads of a warp do it
    // together and get the sum.
    template <int kShift>
    __device__ Weight fold(Weight before) const {
        constexpr int kPart = kWords / kParts;
        const int digit = static_cast<int>(threadIdx.x) / kParts, part = static_cast<int>(threadIdx.x) % kParts;
        unsigned* words = shared.words + digit * kWords + part * kPart;
        unsigned read[kPart];
        // Rotated, so that the lanes of a warp meet different banks.
#pragma unroll
        for (int i = 0; i < kPart; i++) read[i] = words[(i + digit) % kPart];
#pragma unroll
        for (int i = 0; i < kPart; i++) words[(i + digit) % kPart] = 0;
        Weight sum = 0;
#pragma unroll
        for (int i = 0; i < kPart; i++) sum += read[i];
        if (kIsMass && part * kPart >= kCopies) sum <<= kHalfBits % (8 * sizeof(Weight));
#pragma unroll
        for (int distance = 1; distance < kParts; distance *= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
        sum += before;
        if (part == 0) totals<kShift>()[place_of(digit)] = sum;
        return sum;
    }

    // The totals of the team are summed in order of place, a thread each, until the target lies between two.
    template <int kShift, typename TargetOf>
    __device__ void find_digit(Crossing& crossing, Weight& target, TargetOf target_of) const {
        team.sync();
        const int place = static_cast<int>(threadIdx.x);
        Weight total = 0, inclusive = 0;
        if (place < kDigits) {
            total = team_total(totals<kShift>()[place]);
            inclusive = total;
#pragma unroll
            for (int distance = 1; distance < kWarp; distance *= 2) {
                const Weight other = __shfl_up_sync(kAllLanes, inclusive, distance);
                if (lane_id() >= distance) inclusive += other;
            }
            if (lane_id() == kWarp - 1) shared.of_warps[warp_id()] = inclusive;
        }
        __syncthreads();
        Weight running = crossing.before, all = 0;
#pragma unroll
        for (int warp = 0; warp < kScanWarps; warp++) {
            const Weight of_warp = shared.of_warps[warp];
            if (warp < warp_id()) running += of_warp;
            if (kShift == kFirstShift) all += of_warp;
        }
        if constexpr (kShift == kFirstShift) {
            target = target_of(all);
            crossing.exists = target != 0;
        }
        running += inclusive - total;
        if (place < kDigits && running < target && target <= running + total) {
            shared.digit = static_cast<unsigned>(place_of(place));
            shared.before = running;
        }
        __syncthreads();
        crossing.key |= shared.digit << kShift;
        crossing.before = shared.before;
    }

    __device__ Weight team_total(const Weight& mine) const {
        if (team.is_alone()) return mine;
        Weight of_block[Team::kMostBlocks], total = 0;
#pragma unroll
        for (int block = 0; block < Team::kMostBlocks; block++)  // all on their way at once
            of_block[block] = block < team.size ? team.read(mine, block) : 0;
#pragma unroll
        for (int block = 0; block < Team::kMostBlocks; block++) total += of_block[block];
        return total;
    }
};

}  // namespace attn
