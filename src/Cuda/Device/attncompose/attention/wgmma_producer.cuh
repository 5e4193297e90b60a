// The producer of the sm_90a main loop: a warpgroup that copies the key tiles of one block, last one first, into the ring
// (wgmma_loop.cuh). Tiles come by the copy engine, where the row source has tensor maps, or row by row.
//
// cp.async writes through the generic proxy and wgmma reads through the other: a fence stands between them, the consumers'.
// The copy engine needs none. Rows of keys and values past key_count are zeroes, not only masked: 0 * NaN would be NaN. The
// copy engine fills with zeroes only past the tensor, so a tile that key_count cuts inside it is copied by rows.
#pragma once

#include <attncompose/attention/wgmma_ring.cuh>

namespace attn {

template <Element T, RowSource Rows, typename Ring>
struct WgmmaProducer {
    static constexpr int kKeyTile = Ring::kKeyTile;
    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr bool kMapped = kHasMaps<Rows>;
    static constexpr bool kGathered = kGatheredAhead<Rows>;
    static_assert(!kIndexed || !kMapped || kGathered);
    static_assert(kKeyTile <= kMostKeyTile);
    static constexpr bool kCopiesAtPositions = kIndexed && !kMapped;

    using KeyTile = typename Ring::KeyTile;

    const Problem& problem;
    const Rows& source;
    const HeadRows<kIndexed>& rows;
    Ring ring;
    int b, h, g;
    int thread;  // of the warpgroup

    // Copies `tiles` tiles, of which the first whole_tiles need no mask.
    __device__ void run(int tiles, int whole_tiles) const {
        if (tiles <= 0) {
            if (thread == 0) ring.put_header(0, {0, Ring::kEmpty});
            ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            if (thread == 0) ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            return;
        }
        // The copy engine is asked by one thread; the other warps are needed for a cut tile alone.
        if (kMapped && !is_cut(tiles - 1) && thread >= kWarp) return;
        Tensor keys{head_of(problem.key, problem.key_strides), row_bytes(problem.key_strides), nullptr, g, b};
        Tensor values{head_of(problem.value, problem.value_strides), row_bytes(problem.value_strides), nullptr, g, b};
        if constexpr (kGathered) {
            keys.map_head = values.map_head = b * problem.query_heads + h - source.heads.first;
            keys.map_batch = values.map_batch = 0;
        }
        if constexpr (kMapped) {
            keys.map = &source.maps->key;
            values.map = &source.maps->value;
            ptx::prefetch_map(keys.map);
            ptx::prefetch_map(values.map);
        }
        typename Ring::Slot slot;
        RowPositions positions = positions_of(tiles - 1);
        for (int tile = tiles - 1; tile >= 0; tile--) {
            const unsigned flags = tile == 0 ? 0 : tile - 1 < whole_tiles ? Ring::kMore : Ring::kMore | Ring::kMoreMasked;
            ptx::wait(ring.barrier(Ring::kKeysFree, slot.stage), slot.parity ^ 1);
            if (thread == 0) ring.put_header(slot.stage, {tile * kKeyTile, flags});
            if constexpr (Ring::kKeepsPositions) start_positions(slot.stage, tile);
            start(keys, ring.key_tile(slot.stage), tile, positions, ring.barrier(Ring::kKeysFull, slot.stage));
            ptx::wait(ring.barrier(Ring::kValuesFree, slot.stage), slot.parity ^ 1);
            start(values, ring.value_tile(slot.stage), tile, positions, ring.barrier(Ring::kValuesFull, slot.stage));
            positions = positions_of(tile - 1);
            slot.advance();
        }
    }

    // Positions of the rows of a key tile that this thread copies.
    struct RowPositions {
        int of[kCopiesAtPositions ? KeyTile::kRowsOfThread : 1];
    };

    __device__ RowPositions positions_of(int tile) const {
        RowPositions positions = {};
        if constexpr (kCopiesAtPositions) {
#pragma unroll
            for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
                const int j = tile * kKeyTile + KeyTile::row_of_thread(thread, n);
                positions.of[n] = j >= 0 && j < rows.key_count ? rows.positions[j] : 0;
            }
        }
        return positions;
    }

    __device__ void start_positions(int stage, int tile) const {
        static_assert(kKeyTile <= kWarpgroup);
        const int j = tile * kKeyTile + thread;
        if (thread >= kKeyTile) return;
        const bool valid = j < rows.key_count;
        ptx::copy_word_async(ring.positions_address(stage) + thread * 4, rows.positions + (valid ? j : 0), valid);
    }

    // Whether key_count cuts a tile where neither the end of a tensor map nor rows of zeroes do.
    __device__ bool is_cut(int tile) const {
        if constexpr (kGathered) return false;
        return (tile + 1) * kKeyTile > rows.key_count && (!kMapped || rows.key_count < problem.key_length);
    }

    // One head of a tensor, by rows and, if mapped, for the copy engine.
    struct Tensor {
        const unsigned char* head;
        long long row_bytes;
        const TensorMap* map;
        int map_head, map_batch;
    };
    __device__ const unsigned char* head_of(const void* tensor, const Strides& strides) const {
        return static_cast<const unsigned char*>(tensor) + strides.at(b, g) * static_cast<long long>(sizeof(T));
    }
    __device__ static long long row_bytes(const Strides& strides) {
        return strides.row * static_cast<long long>(sizeof(T));
    }

    __device__ void start(const Tensor& from, const KeyTile& to, int tile, const RowPositions& positions, unsigned full) const {
        const bool cut = is_cut(tile);
        if constexpr (kMapped) {
            if (!cut) {
                if (thread == 0) {
                    ptx::arrive_expecting(full, KeyTile::kBytes);
                    ptx::copy_box_async(to.base, from.map, full, 0, tile * kKeyTile, 0, from.map_head, from.map_batch);
                    ptx::arrive(full, Ring::kFullArrivals - 1);
                }
                return;
            }
        }
        if (cut)
            copy_rows<true>(from, to, tile, positions);
        else
            copy_rows<false>(from, to, tile, positions);
        if constexpr (kMapped) {
            // The consumers do not fence what the copy engine brings, so this thread does.
            ptx::commit_copies();
            ptx::wait_for_copies<0>();
            ptx::fence_async_proxy();
            ptx::arrive(full);
        } else {
            ptx::arrive_after_copies(full);
        }
        if (thread == 0) ptx::arrive(full);
    }

    template <bool kCut>
    __device__ void copy_rows(const Tensor& from, const KeyTile& to, int tile, const RowPositions& positions) const {
#pragma unroll
        for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
            const int j = tile * kKeyTile + KeyTile::row_of_thread(thread, n);
            const bool valid = !kCut || j < rows.key_count;
            const int position = kCopiesAtPositions ? positions.of[kCopiesAtPositions ? n : 0] : valid ? j : 0;
            to.copy_row_async(thread, n, from.head + position * from.row_bytes, valid);
        }
    }
};

}  // namespace attn
