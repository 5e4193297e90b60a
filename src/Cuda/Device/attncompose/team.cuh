// What lets more than one block work on a head or a sequence, and one kernel begin before the last has ended.
//
//   team           the blocks that own a head or sequence together: a cluster on sm_90, whose blocks read each other's shared
//                  memory; a single block on older chips. The host takes as many as the keys give work to, up to kMostBlocks.
//   run            the keys that one block of a team owns: consecutive, and those of the next block follow
#pragma once

#include <attncompose/sm90.cuh>
#include <attncompose/tile.cuh>

namespace attn {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
inline constexpr bool kHasClusters = true;
#else
inline constexpr bool kHasClusters = false;
#endif

// Begins what depends on the kernel before. Then the next kernel may start; by then that of before has ended.
__device__ inline void wait_for_earlier_kernels() {
    if constexpr (kHasClusters) {
        ptx::wait_for_earlier_kernels();
        ptx::start_next_kernel();
    }
}

struct Team {
    static constexpr int kMostBlocks = kHasClusters ? 8 : 1;

    int rank, size;

    // The grid's first axis is the team.
    static __device__ Team of_block() { return {static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)}; }

    __device__ bool is_alone() const { return !kHasClusters || size == 1; }

    // __syncthreads() for all blocks of the team, which must not exit while another may read what is theirs.
    __device__ void sync() const {
        if constexpr (kHasClusters) {
            if (size > 1) {
                ptx::sync_cluster();
                return;
            }
        }
        __syncthreads();
    }

    // A 4 or 8 byte value in shared memory, as block `of` has it.
    template <typename T>
    __device__ T read(const T& mine, int of) const {
        static_assert(sizeof(T) == 4 || sizeof(T) == 8);
        if constexpr (kHasClusters) {
            const unsigned address = ptx::shared_address(&mine);
            if constexpr (sizeof(T) == 4)
                return static_cast<T>(ptx::load_of_block(address, of));
            else
                return static_cast<T>(ptx::load_pair_of_block(address, of));
        } else {
            return mine;
        }
    }
    // Into the shared memory of block `to`.
    __device__ void write(unsigned& there, int to, unsigned value) const {
        if constexpr (kHasClusters)
            ptx::store_to_block(ptx::shared_address(&there), to, value);
        else
            there = value;
    }

    // Sum over the blocks of a value that thread 0 of each has; thread 0 of block 0 gets it. slots is shared memory, and the
    // last that is read of another block's: a block may exit behind this.
    __device__ unsigned sum(unsigned value, unsigned (&slots)[kMostBlocks]) const {
        if (threadIdx.x == 0) write(slots[rank], 0, value);
        sync();
        unsigned total = 0;
        if (rank == 0 && threadIdx.x == 0)
            for (int i = 0; i < size; i++) total += slots[i];
        return total;
    }
};

// Keys [begin, begin + count) of [0, keys): a block's run. Every block of a team but the last ones owns kQuantum * n keys.
struct Run {
    static constexpr int kQuantum = kWarp;

    int begin, count, length;  // length: of the longest run of the team

    __device__ Run(const Team& team, int keys) {
        length = divide_up(divide_up(keys, team.size), kQuantum) * kQuantum;
        begin = least(team.rank * length, keys);
        count = least(length, keys - begin);
    }
};

}  // namespace attn
