// Tiles of 16-bit rows in shared memory, and the operand fragments that mma.sync m16n8k16 reads from them.
//
//   row of a tile    kDim elements, kDim a multiple of 16, as chunks of 16 bytes
//   swizzle          chunk c of row r lies at c XOR f(r), so that the same chunk of eight consecutive rows, which is
//   what
//                    ldmatrix reads, lies in eight different groups of banks
//   fragment         the registers of one lane; lane l = 4 g + t holds
//                      A (16x16): rows g and g + 8, columns 2t, 2t + 1, 2t + 8, 2t + 9
//                      B (16x8):  rows 2t, 2t + 1, 2t + 8, 2t + 9, column g
//                      C (16x8):  [0], [1] = row g, columns 2t and 2t + 1; [2], [3] = row g + 8
#pragma once

#include <attncompose/ptx.cuh>

namespace attn {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__device__ inline int lane_id() {
    return static_cast<int>(threadIdx.x) % kWarp;
}
__device__ inline int warp_id() {
    return static_cast<int>(threadIdx.x) / kWarp;
}

// mma.sync multiplies 16 elements of the inner dimension at a time; narrower heads are padded with zeroes.
template <int kHeadDim>
inline constexpr int kPaddedDim = divide_up(kHeadDim, 16) * 16;

template <int kRows, int kDim>
struct Tile {
    static_assert(kDim % 16 == 0 && kRows % 8 == 0);
    static constexpr int kChunks = kDim / kChunkElements;
    static constexpr int kRowBytes = kChunks * kChunkBytes;
    static constexpr int kBytes = kRows * kRowBytes;

    // The XOR stays inside aligned groups of kGroup chunks, the largest power of two that divides a row. Rows are an
    // odd number of such groups apart, so 8 / kGroup consecutive rows differ by themselves, and f changes after them.
    static constexpr int kGroup = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;

    unsigned base;  // shared-memory address, a multiple of 128 bytes

    __device__ static constexpr int swizzle_of(int row) { return row / (8 / kGroup) % kGroup; }

    __device__ unsigned address(int row, int chunk) const {
        return base + static_cast<unsigned>(row * kRowBytes + (chunk ^ swizzle_of(row)) * kChunkBytes);
    }

    // One lane's part of the operands in 16 rows, for ldmatrix: the lane addresses one row and, of each pair of chunks,
    // the even or the odd one. A few XORs serve all operands of a tile, because rows 8 apart are swizzled alike.
    struct Lane {
        unsigned row_address;
        unsigned swizzle;  // bytes

        __device__ Lane(const Tile& tile, int row, int odd)
            : row_address(ptx::recomputed(tile.base + static_cast<unsigned>(row * kRowBytes))),
              swizzle(ptx::recomputed(static_cast<unsigned>(odd ^ swizzle_of(row)) * kChunkBytes)) {}

        // Chunk pair `pair` of the row `rows` further down, a multiple of 8.
        __device__ unsigned address(int rows, int pair) const {
            const int whole_groups = 2 * pair / kGroup * kGroup, in_group = 2 * pair % kGroup;
            return row_address + static_cast<unsigned>(rows * kRowBytes + whole_groups * kChunkBytes) +
                   (static_cast<unsigned>(in_group * kChunkBytes) ^ swizzle);
        }
    };

    // A operands: 16 rows, and as many columns at [16 pair, 16 pair + 16).
    __device__ Lane a_operands(int row) const { return {*this, row + lane_id() % 16, lane_id() / 16}; }

    // Pairs of B operands of the transposed tile: rows [0, 8) and [8, 16) are the columns, 16 columns the inner
    // dimension.
    __device__ Lane transposed_b_operands() const {
        return {*this, lane_id() % 8 + lane_id() / 16 * 8, lane_id() / 8 % 2};
    }

    // Pairs of B operands: 16 rows are the inner dimension, eight columns and the next eight the columns.
    __device__ Lane b_operands() const { return {*this, lane_id() % 16, lane_id() / 16}; }

    // Starts copying rows of kHeadDim elements. row_of(r) is where row r of the tile begins in global memory, or null
    // for a row of zeroes; columns from kHeadDim on are zeroes. All threads of the block take part, or kThreads of which
    // this is number `among`.
    template <int kHeadDim, int kThreads, typename RowOf>
    __device__ void load_async(const void* any_valid, RowOf row_of, int among = static_cast<int>(threadIdx.x)) const {
        static_assert(kPaddedDim<kHeadDim> == kDim && kHeadDim % kChunkElements == 0);
        const int thread = ptx::recomputed(among);
#pragma unroll 4
        for (int first = 0; first < kRows * kChunks; first += kThreads) {
            const int index = first + thread;
            if (kRows * kChunks % kThreads != 0 && index >= kRows * kChunks) break;
            int row = index / kChunks, chunk = index % kChunks;
            const unsigned char* from = row_of(row);
            bool valid = from != nullptr && (kHeadDim == kDim || chunk < kHeadDim / kChunkElements);
            ptx::copy_chunk_async(address(row, chunk), valid ? from + chunk * kChunkBytes : any_valid, valid);
        }
    }
};

// c (16 x kColumns, as C fragments) += rows [row, row + 16) of `a` times the transposed rows [0, kColumns) of `b`.
template <Element T, int kRowTiles, int kColumns, typename TileA, typename TileB>
__device__ inline void multiply_transposed(float (&c)[kRowTiles][kColumns / 8][4], const TileA& a, int row,
                                           const TileB& b) {
    static_assert(TileA::kChunks == TileB::kChunks && kColumns % 16 == 0);
    const auto a_lane = a.a_operands(row);
    const auto b_lane = b.transposed_b_operands();
#pragma unroll 4  // one period of the swizzle of rows of 128 bytes and more
    for (int step = 0; step < TileA::kChunks / 2; step++) {
        unsigned left[kRowTiles][4];
#pragma unroll
        for (int m = 0; m < kRowTiles; m++) ptx::load_matrices(left[m], a_lane.address(16 * m, step));
#pragma unroll
        for (int n = 0; n < kColumns / 16; n++) {
            unsigned right[4];
            ptx::load_matrices(right, b_lane.address(16 * n, step));
#pragma unroll
            for (int m = 0; m < kRowTiles; m++) {
                ptx::multiply_add<T>(c[m][2 * n], left[m], right[0], right[1]);
                ptx::multiply_add<T>(c[m][2 * n + 1], left[m], right[2], right[3]);
            }
        }
    }
}

// Reductions over the four lanes that hold one row of a C fragment.
__device__ inline float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(kAllLanes, x, 1));
    return fmaxf(x, __shfl_xor_sync(kAllLanes, x, 2));
}
__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(kAllLanes, x, 1);
    return x + __shfl_xor_sync(kAllLanes, x, 2);
}

}  // namespace attn
