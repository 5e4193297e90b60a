// The bounds of the spans that mask rules read at positions (rule_ranges.cuh), by a kernel that reads each span once: one block a
// far block of elements.
#pragma once

#include <attncompose/problem.cuh>
#include <attncompose/rule_ranges.cuh>
#include <attncompose/tile.cuh>

namespace attn {

// Score: for_each_bounded(visit) calls visit(span, number) for each of them; `bounds` is where they go.
template <typename Score>
struct SpanBoundsPhase {
    struct Arguments {};
    using Bounds = rules::SpanBounds;
    using Entry = Bounds::Entry;

    static constexpr int kThreads = 256, kTile = Bounds::kFar;
    static constexpr int kNearBlocks = Bounds::kFar / Bounds::kNear;
    static constexpr int kSharedBytes = kNearBlocks * static_cast<int>(sizeof(Entry));

    static __device__ void run(const Problem&, const Score& score, const Arguments&, unsigned char* shared) {
        const long long block = blockIdx.x + static_cast<long long>(gridDim.x) * blockIdx.z;
        auto* entries = reinterpret_cast<Entry*>(shared);
        score.for_each_bounded(Writer{block, score.bounds, entries});
    }

    // A generic lambda would be a host function to NVRTC.
    struct Writer {
        long long block;
        const Bounds& bounds;
        Entry* shared;

        template <typename T>
        __device__ void operator()(const rules::Span<T>& span, int number) const {
            write(span, number, block, bounds, shared);
        }
    };

    template <typename T>
    static __device__ void write(const rules::Span<T>& span, int number, long long block, const Bounds& bounds, Entry* entries) {
        static_assert(Bounds::kNear == 2 * kWarp && kNearBlocks == 2 * kWarp);
        const long long begin = block * Bounds::kFar;
        if (begin >= span.length) return;
        for (int near = warp_id(); near < kNearBlocks; near += kThreads / kWarp) {
            const long long first = begin + near * Bounds::kNear;
            const Entry found = reduce<T>(entry_of(span, first + lane_id()), entry_of(span, first + kWarp + lane_id()));
            if (lane_id() == 0) {
                entries[near] = found;
                bounds.near(number)[block * kNearBlocks + near] = found;
            }
        }
        __syncthreads();
        if (warp_id() == 0) {
            const Entry found = reduce<T>(entries[lane_id()], entries[kWarp + lane_id()]);
            if (lane_id() == 0) bounds.far(number)[block] = found;
        }
        __syncthreads();
    }

    // Of one element; behind the end that of the last one, which changes no bound of the block that it ends in.
    template <typename T>
    static __device__ Entry entry_of(const rules::Span<T>& span, long long index) {
        const int bits = rules::ranges::bits_of(span.data[least(index, span.length - 1)]);
        return {bits, bits};
    }

    template <typename T>
    static __device__ Entry reduce(Entry a, Entry b) {
        Entry all = rules::ranges::join<T>(a, b);
#pragma unroll
        for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
            const Entry other{__shfl_xor_sync(kAllLanes, all.low, lanes), __shfl_xor_sync(kAllLanes, all.high, lanes)};
            all = rules::ranges::join<T>(all, other);
        }
        return all;
    }
};

}  // namespace attn
