// How alike the rows of a block are: whether their mean stands for them.
//
//   similarity   mean over all pairs of rows, a row with itself among them, of the cosine of their angle. It is the squared length
//                of the rows' mean direction, so no pair is formed. A row of zeroes has no direction and counts as 0
//
// All sums have a fixed order.
#pragma once

#include <attncompose/block_lists/pooled_rows.cuh>

namespace attn {

// Config: kHeadDim, Element.
template <typename Config, int kThreads>
struct SimilarRows {
    using Element = typename Config::Element;
    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kChunks = kHeadDim / kChunkElements;
    // Lanes that share a row, a power of two.
    static constexpr int kLanes = kChunks <= 1 ? 1 : kChunks <= 2 ? 2 : kChunks <= 4 ? 4 : kChunks <= 8 ? 8 : kChunks <= 16 ? 16 : 32;
    static constexpr int kSlots = kThreads / kLanes;  // rows at a time
    static_assert(kThreads >= kHeadDim);
    static constexpr int kSharedFloats = 2 * kSlots * kHeadDim + kThreads / kWarp;

    // Mean of `count` rows, at least one, to `to`, and their similarity, the same for all threads; row_of(i) is where row i begins
    // in global memory. All threads call it.
    template <typename RowOf>
    static __device__ float mean(int count, RowOf row_of, float* scratch, float* to) {
        const int chunk = static_cast<int>(threadIdx.x) % kLanes, slot = static_cast<int>(threadIdx.x) / kLanes;
        float sums[kChunkElements] = {}, directions[kChunkElements] = {};
        for (int first = 0; first < count; first += kSlots) {  // whole warps, because lanes add up a row's length together
            float row[kChunkElements] = {};
            if (first + slot < count && chunk < kChunks) {
                const Chunk c = *(reinterpret_cast<const Chunk*>(row_of(first + slot)) + chunk);
#pragma unroll
                for (int e = 0; e < kChunkElements; e++) row[e] = ptx::to_float<Element>(c.words[e / 2] >> (e % 2 * 16));
            }
            float square = 0;
#pragma unroll
            for (int e = 0; e < kChunkElements; e++) square += row[e] * row[e];
#pragma unroll
            for (int distance = 1; distance < kLanes; distance *= 2) square += __shfl_xor_sync(kAllLanes, square, distance);
            const float factor = square == 0 ? 0 : 1 / sqrtf(square);
#pragma unroll
            for (int e = 0; e < kChunkElements; e++) {
                sums[e] += row[e];
                directions[e] += row[e] * factor;
            }
        }
        __syncthreads();  // an earlier use of the scratch is over
        if (chunk < kChunks)
#pragma unroll
            for (int e = 0; e < kChunkElements; e++) {
                const int place = slot * kHeadDim + chunk * kChunkElements + e;
                scratch[place] = sums[e];
                scratch[kSlots * kHeadDim + place] = directions[e];
            }
        __syncthreads();
        float square = 0;
        if (threadIdx.x < kHeadDim) {
            float sum = 0, direction = 0;
            for (int s = 0; s < kSlots; s++) {
                sum += scratch[s * kHeadDim + threadIdx.x];
                direction += scratch[(kSlots + s) * kHeadDim + threadIdx.x];
            }
            to[threadIdx.x] = sum / static_cast<float>(count);
            direction /= static_cast<float>(count);
            square = direction * direction;
        }
        return block_reduce<kThreads>(square, scratch + 2 * kSlots * kHeadDim, Sum{});
    }
};

}  // namespace attn
