// Finds the key at which a running total over scores in order crosses a target, digit by digit from the top, without a sort: the
// total of each digit's keys is known from a histogram, and only keys that share the digits found so far count on. One block of
// any size from 256 threads on; keys are computed anew in each of the four passes (selection/radix_descent.cuh holds them, for
// teams of large blocks).
//
//   digit      8 bits
//   copies     the histogram is kept kCopies times, lane l adds to copy l % kCopies, so that lanes that meet at a digit rarely
//              meet at an address
//   prefix     the digits found so far
#pragma once

#include <attncompose/selection/block_reduce.cuh>

namespace attn {

// Weight is unsigned (counts) or unsigned long long (masses).
template <typename Weight, int kThreads>
struct KeyDescent {
    static constexpr int kDigitBits = 8, kDigits = 1 << kDigitBits;
    static constexpr int kCopies = kWarp * 4 / static_cast<int>(sizeof(Weight));
    static_assert(kThreads >= kDigits);

    struct Shared {
        Weight histogram[kDigits * kCopies];
        Weight totals[kDigits];
        unsigned digit;
        Weight before;
    };

    struct Crossing {
        unsigned key;   // of the items at which the total reaches the target
        Weight before;  // weight of the items that come before them
    };

    // The crossing of `target`, at least 1 and at most the total, over items [0, count), in descending order of key.
    // item(t, key, weight) sets key and weight of item t. All threads call it; all get the result.
    template <typename Item>
    static __device__ Crossing find(Shared& shared, int count, Weight target, Item item) {
        Crossing crossing{0, 0};
        for (int shift = 32 - kDigitBits; shift >= 0; shift -= kDigitBits) {
            for (int i = static_cast<int>(threadIdx.x); i < kDigits * kCopies; i += kThreads) shared.histogram[i] = 0;
            __syncthreads();
            const unsigned prefix = shift + kDigitBits < 32 ? crossing.key >> (shift + kDigitBits) : 0;
            const int copy = lane_id() % kCopies;
            for (int t = static_cast<int>(threadIdx.x); t < count; t += kThreads) {
                unsigned key;
                Weight weight;
                item(t, key, weight);
                if (shift + kDigitBits == 32 || key >> (shift + kDigitBits) == prefix) {
                    const int digit = static_cast<int>((key >> shift) % kDigits);
                    if (weight != 0) atomicAdd(&shared.histogram[digit * kCopies + copy], weight);
                }
            }
            __syncthreads();
            if (threadIdx.x < kDigits) {
                Weight total = 0;
                for (int i = 0; i < kCopies; i++)  // rotated, so that the lanes of a warp read different banks
                    total += shared.histogram[threadIdx.x * kCopies + (i + threadIdx.x) % kCopies];
                shared.totals[threadIdx.x] = total;
            }
            __syncthreads();
            if (warp_id() == 0) cross(shared, crossing.before, target);
            __syncthreads();
            crossing.key |= shared.digit << shift;
            crossing.before = shared.before;
        }
        return crossing;
    }

  private:
    // One warp: each lane sums kDigits / kWarp digits, a scan finds the lane that crosses, and that lane finds the
    // digit.
    static __device__ void cross(Shared& shared, Weight before, Weight target) {
        constexpr int kPerLane = kDigits / kWarp;
        const auto digit_at = [](int place) { return kDigits - 1 - place; };
        const int begin = lane_id() * kPerLane;
        Weight sum = 0;
        for (int i = 0; i < kPerLane; i++) sum += shared.totals[digit_at(begin + i)];
        Weight inclusive = sum;
        for (int distance = 1; distance < kWarp; distance *= 2) {
            const Weight other = __shfl_up_sync(kAllLanes, inclusive, distance);
            if (lane_id() >= distance) inclusive += other;
        }
        Weight running = before + inclusive - sum;
        if (running < target && target <= running + sum) {
            int place = begin;
            while (running + shared.totals[digit_at(place)] < target) running += shared.totals[digit_at(place++)];
            shared.digit = static_cast<unsigned>(digit_at(place));
            shared.before = running;
        }
    }
};

}  // namespace attn
