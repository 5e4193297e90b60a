// Tiles of 16-bit rows in shared memory as wgmma and the copy engine want them.
//
//   slab          kSlab columns of the tile, all rows: row after row of kSlabBytes = 128, 64 or 32 bytes. A tile is its
//                 slabs one after another. The copy engine writes this as one box {kSlab, rows, slabs}.
//   swizzle       chunk c of row r of a slab lies at c XOR (r mod 8) div (8 / chunks of a slab row): the same bits of the
//                 address for every tile, which begins at a multiple of 1024 bytes
//   descriptor    how wgmma finds an operand: address, distances of 8-row groups and of slabs, swizzle
#pragma once

#include <attncompose/sm90.cuh>
#include <attncompose/tile.cuh>

namespace attn {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // sm_90a
inline constexpr bool kHasWgmma = true;
#else
inline constexpr bool kHasWgmma = false;
#endif

inline constexpr int kWarpgroup = 4 * kWarp;

template <int kTileRows, int kDim>
struct SlabTile {
    static constexpr int kRows = kTileRows;
    static constexpr int kSlab = kDim % 64 == 0 ? 64 : kDim % 32 == 0 ? 32 : 16;
    static constexpr int kSlabs = kDim / kSlab;
    static constexpr int kSlabChunks = kSlab / kChunkElements;
    static constexpr int kSlabRowBytes = kSlabChunks * kChunkBytes;
    static constexpr int kSlabBytes = kRows * kSlabRowBytes;
    static constexpr int kBytes = kSlabs * kSlabBytes;
    static_assert(kDim % 16 == 0 && kRows % 16 == 0 && kSlabBytes % (8 * kSlabRowBytes) == 0 && kBytes % 1024 == 0);

    unsigned base;  // shared-memory address, a multiple of 1024

    static __device__ int swizzled(int row, int chunk) { return chunk ^ (row % 8 / (8 / kSlabChunks)); }

    // Address of a chunk, counted over the whole row of kDim elements.
    __device__ unsigned address(int row, int chunk) const {
        return base + static_cast<unsigned>(chunk / kSlabChunks * kSlabBytes + row * kSlabRowBytes +
                                            swizzled(row, chunk % kSlabChunks) * kChunkBytes);
    }

    // A warpgroup copies rows: each of its threads one chunk of each slab, of every kRowStep-th row.
    static constexpr int kRowStep = kWarpgroup / kSlabChunks;
    static_assert(kRows % kRowStep == 0 && kRowStep % 8 == 0);
    static constexpr int kRowsOfThread = kRows / kRowStep;

    static __device__ int row_of_thread(int t, int n) { return t / kSlabChunks + n * kRowStep; }

    // Starts copying thread t's part of its n-th row, which begins at `from`; zeroes, and nothing read, where it is not valid.
    // All rows of a thread swizzle alike.
    __device__ void copy_row_async(int t, int n, const unsigned char* from, bool valid) const {
        const int chunk = t % kSlabChunks;
        const unsigned to = address(row_of_thread(t, 0), chunk) + static_cast<unsigned>(n * kRowStep * kSlabRowBytes);
#pragma unroll
        for (int slab = 0; slab < kSlabs; slab++)
            ptx::copy_chunk_async(to + slab * kSlabBytes, from + slab * kSlabRowBytes + chunk * kChunkBytes, valid);
    }

    // Inner dimension along the columns: columns [16 step, 16 step + 16) of all rows.
    __device__ unsigned long long along_columns(int step) const {
        const int column = 16 * step;
        return descriptor(column / kSlab * kSlabBytes + column % kSlab * static_cast<int>(sizeof(bf16)), kChunkBytes);
    }
    // Inner dimension along the rows: rows [16 step, 16 step + 16) of all columns.
    __device__ unsigned long long along_rows(int step) const { return descriptor(16 * step * kSlabRowBytes, kSlabBytes); }

  private:
    // Fields in units of 16 bytes: address at bit 0, distance of slabs at 16 (unused where the inner dimension lies along
    // a slab's row), of 8-row groups at 32; swizzle at 62: 1, 2, 3 for rows of 128, 64, 32 bytes. The address has 18 bits,
    // so that the offset, which is known at compile time, is simply added.
    __device__ unsigned long long descriptor(int offset, int slab_distance) const {
        constexpr unsigned kSwizzle = kSlabRowBytes == 128 ? 1 : kSlabRowBytes == 64 ? 2 : 3;
        constexpr unsigned kGroup = 8 * kSlabRowBytes / 16;
        const unsigned low = base / 16 + static_cast<unsigned>(slab_distance / 16 << 16) + static_cast<unsigned>(offset / 16);
        return static_cast<unsigned long long>(kSwizzle << 30 | kGroup) << 32 | low;
    }
};

}  // namespace attn
