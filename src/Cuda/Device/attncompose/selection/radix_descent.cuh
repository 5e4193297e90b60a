// Finds the key at which a running total over keys in order crosses a target, digit by digit from the top, without a
// sort: the total of each digit's keys is known from a histogram, and only keys that share the digits found so far
// count on. The blocks of a team have a run of the keys each.
//
//   digit      8 bits: the keys of softmax scores share few exponents, so few digits of the first pass are in use
//   words      a digit's part of the histogram, one for each lane, so that lanes that meet at a digit do not meet at an
//              address or a bank. A 64-bit weight, a mass below 2^40, takes two of 20 bits each, which lanes l and
//              l + 16 share: memory adds 32 bits at once, not 64.
//   totals     weights of all digits, of one block's keys; sums: of the team's
#pragma once

#include <attncompose/selection/block_reduce.cuh>
#include <attncompose/team.cuh>

namespace attn {

inline constexpr int kDigitBits = 8;
inline constexpr int kDigits = 1 << kDigitBits;

// Weight is unsigned (counts) or unsigned long long (masses).
template <typename Weight, int kThreads>
struct RadixDescent {
    static constexpr bool kIsMass = sizeof(Weight) == 8;
    static constexpr int kWords = kWarp, kCopies = kIsMass ? kWords / 2 : kWords;
    static constexpr int kHalfBits = 20;
    // Items that may be added before the words are folded away: so many of a copy cannot pass 32 bits.
    static constexpr int kMostItems = kIsMass ? kCopies << (32 - kHalfBits) : 1 << 30;
    static constexpr int kParts = 4;  // threads that fold a digit
    static_assert(kThreads == kParts * kDigits && kHalfBits * 2 == 40);

    struct Shared {
        unsigned words[kDigits * kWords];
        Weight totals[2][kDigits];  // by turns, so that a team synchronises once a pass
        Weight sums[kDigits];
    };

    struct Crossing {
        bool exists;    // the target is not 0
        unsigned key;   // of the items at which the total reaches the target
        Weight before;  // weight of the items that come before them
    };

    Team team;
    Shared& shared;
    int count;  // of this block's items

    // The first pass over the items, which needs no target. item(i, key, weight) sets key and weight of item i < count.
    // All threads of the team call it.
    template <typename Item>
    __device__ void start(Item item) const {
        for (int i = static_cast<int>(threadIdx.x); i < kDigits * kWords; i += kThreads) shared.words[i] = 0;
        __syncthreads();
        add_items<kFirstShift>(0, item);
    }

    // The crossing of a target, at least 1 and at most the total, in ascending or descending order of key; target_of(total)
    // is asked for it once, by all threads. All get the result.
    template <bool kAscending, typename TargetOf, typename Item>
    __device__ Crossing finish(TargetOf target_of, Item item) const {
        Crossing crossing{true, 0, 0};
        Weight target = 0;
        find_digit<kAscending, kFirstShift>(crossing, target, [&](Weight total) {
            target = target_of(total);
            crossing.exists = target != 0;
        });
        if (!crossing.exists) return crossing;
        const auto known = [](Weight) {};
        add_items<16>(crossing.key, item);
        find_digit<kAscending, 16>(crossing, target, known);
        add_items<8>(crossing.key, item);
        find_digit<kAscending, 8>(crossing, target, known);
        add_items<0>(crossing.key, item);
        find_digit<kAscending, 0>(crossing, target, known);
        return crossing;
    }

  private:
    static constexpr int kFirstShift = 32 - kDigitBits;

    template <int kShift>
    __device__ Weight (&totals() const)[kDigits] {
        return shared.totals[kShift / kDigitBits % 2];
    }

    // Totals of the digit at kShift over the items that begin like `found`. The words are 0 before and after.
    template <int kShift, typename Item>
    __device__ void add_items(unsigned found, Item item) const {
        const int digit = static_cast<int>(threadIdx.x) / kParts;
        Weight total = 0;
        int begin = 0;
        do {
            const int end = least(count - begin, kMostItems) + begin;
#pragma unroll 4
            for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) {
                unsigned key;
                Weight weight;
                item(i, key, weight);
                if (kShift == kFirstShift || (key ^ found) >> (kShift + kDigitBits) % 32 == 0)
                    add(static_cast<int>(key >> kShift) & (kDigits - 1), weight);
            }
            __syncthreads();
            total += fold(digit);
            begin = end;
            if (begin < count) __syncthreads();
        } while (begin < count);
        if (threadIdx.x % kParts == 0) totals<kShift>()[digit] = total;
    }

    __device__ void add(int digit, Weight weight) const {
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

    // Sums a digit's words and sets them to 0; kParts threads of a warp do it together and get the sum.
    __device__ Weight fold(int digit) const {
        constexpr int kPart = kWords / kParts;
        const int part = static_cast<int>(threadIdx.x) % kParts;
        unsigned* words = shared.words + digit * kWords + part * kPart;
        Weight sum = 0;
#pragma unroll
        for (int i = 0; i < kPart; i++) {
            unsigned& word = words[(i + digit) % kPart];  // rotated, so that the lanes of a warp read different banks
            sum += word;
            word = 0;
        }
        if (kIsMass && part * kPart >= kCopies) sum <<= kHalfBits % (8 * sizeof(Weight));
#pragma unroll
        for (int distance = 1; distance < kParts; distance *= 2) sum += __shfl_xor_sync(kAllLanes, sum, distance);
        return sum;
    }

    // Every warp finds the digit for itself: each lane sums kDigits / kWarp digits, a scan finds the lane that crosses, and
    // that lane finds the digit. with_total(total) is called before.
    template <bool kAscending, int kShift, typename WithTotal>
    __device__ void find_digit(Crossing& crossing, const Weight& target, WithTotal with_total) const {
        constexpr int kPerLane = kDigits / kWarp;
        team.sync();
        const Weight* weights = totals<kShift>();
        if (!team.is_alone()) {
            if (threadIdx.x < kDigits) {
                Weight sum = 0;
                for (int of = 0; of < team.size; of++) sum += team.read(totals<kShift>()[threadIdx.x], of);
                shared.sums[threadIdx.x] = sum;
            }
            __syncthreads();
            weights = shared.sums;
        }
        const auto digit_at = [](int place) { return kAscending ? place : kDigits - 1 - place; };
        const int begin = lane_id() * kPerLane;
        Weight sum = 0;
        for (int i = 0; i < kPerLane; i++) sum += weights[digit_at(begin + i)];
        Weight inclusive = sum;
        for (int distance = 1; distance < kWarp; distance *= 2) {
            const Weight other = __shfl_up_sync(kAllLanes, inclusive, distance);
            if (lane_id() >= distance) inclusive += other;
        }
        with_total(__shfl_sync(kAllLanes, inclusive, kWarp - 1));
        Weight running = crossing.before + inclusive - sum;
        const bool crosses = running < target && target <= running + sum;
        int place = begin;
        if (crosses)
            while (running + weights[digit_at(place)] < target) running += weights[digit_at(place++)];
        const unsigned lanes = __ballot_sync(kAllLanes, crosses);
        const int lane = lanes == 0 ? 0 : __ffs(static_cast<int>(lanes)) - 1;  // there is none where the target is 0
        crossing.key |= static_cast<unsigned>(__shfl_sync(kAllLanes, digit_at(place), lane)) << kShift;
        crossing.before = __shfl_sync(kAllLanes, running, lane);
    }
};

}  // namespace attn
