// A search that a whole warp does together.
#pragma once

#include <attncompose/tile.cuh>

namespace attn {

// Index of the first of `count` ascending values that is not below `value`. A warp narrows the range 32-fold a step.
__device__ inline int lower_bound(const int* ascending, int count, int value) {
    int begin = 0, end = count;
    while (begin < end) {
        const int stride = divide_up(end - begin, kWarp);
        const int probe = begin + (lane_id() + 1) * stride - 1;
        const bool below = probe < end && ascending[probe] < value;
        begin += __popc(__ballot_sync(kAllLanes, below)) * stride;
        end = least(end, begin + stride - 1);
    }
    return begin;
}

}  // namespace attn
