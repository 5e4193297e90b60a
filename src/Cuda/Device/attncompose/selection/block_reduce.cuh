// Sums and maxima over a warp and a block, in a fixed order.
#pragma once

#include <attncompose/tile.cuh>

namespace attn {

template <typename T, typename Combine>
__device__ inline T warp_reduce(T value, Combine combine) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2)
        value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
    return value;
}

// The same value for all threads. `scratch` holds one value a warp; every thread calls it.
template <int kThreads, typename T, typename Combine>
__device__ inline T block_reduce(T value, T* scratch, Combine combine) {
    constexpr int kWarps = kThreads / kWarp;
    value = warp_reduce(value, combine);
    __syncthreads();  // an earlier use of the scratch is over
    if (lane_id() == 0) scratch[warp_id()] = value;
    __syncthreads();
    T result = scratch[0];
    for (int warp = 1; warp < kWarps; warp++) result = combine(result, scratch[warp]);
    return result;
}

struct Sum {
    template <typename T>
    __device__ T operator()(T a, T b) const {
        return a + b;
    }
};

}  // namespace attn
