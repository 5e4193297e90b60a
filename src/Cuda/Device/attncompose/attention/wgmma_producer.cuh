// The producer of the sm_90a main loop: a warpgroup that copies the key tiles of one block, in the order of a walk, into the
// ring (wgmma_loop.cuh). Tiles come by the copy engine, where the row source has tensor maps, or row by row.
//
// cp.async writes through the generic proxy and wgmma reads through the other: a fence stands between them, the consumers',
// or the producer's where only a cut tile comes so. The copy engine needs none. Rows of keys and values past key_count are
// zeroes, not only masked: 0 * NaN would be NaN. The copy engine fills with zeroes only past the tensor, so a tile that
// key_count cuts inside it is copied by rows.
#pragma once

#include <attncompose/attention/wgmma_ring.cuh>

namespace attn {

template <Element T, RowSource Rows, KeyBlocks Blocks, typename Ring>
struct WgmmaProducer {
    static constexpr int kKeyTile = Ring::kKeyTile;
    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr bool kMapped = kHasMaps<Rows>;
    static constexpr bool kGathered = kGatheredAhead<Rows>;
    static_assert(!kIndexed || !kMapped || kGathered);
    static_assert(kKeyTile <= kMostKeyTile);
    static constexpr bool kCopiesAtPositions = kIndexed && !kMapped;
    // Whether the consumers fence what is copied by rows.
    static constexpr bool kFencedByConsumers = !kMapped || Blocks::kColumns;

    using KeyTile = typename Ring::KeyTile;

    const Problem& problem;
    const Rows& source;
    const HeadRows<kIndexed>& rows;
    Ring ring;
    Columns columns;
    int b, h, g;
    int thread;  // of the warpgroup

    // Copies the tiles of a walk over the first `tiles` key tiles.
    template <typename Walk>
    __device__ void run(Walk walk, int tiles) const {
        KeyStep at = walk.next();
        if (!at.is_tile()) {
            if (thread == 0) ring.put_header(0, {0, Ring::kEmpty});
            ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            if (thread == 0) ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            return;
        }
        // The copy engine is asked by one thread; the other warps are needed for a cut tile and for columns alone.
        const bool alone = kMapped && !is_cut((tiles - 1) * kKeyTile) && columns.count == 0;
        if (alone && thread >= kWarp) return;
        const int arrivals = alone ? kWarpgroup : kWarp;
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
        RowPositions positions = positions_of(at);
        while (at.is_tile()) {
            const KeyStep after = walk.next();
            const unsigned more = !after.is_tile() ? 0 : after.is_masked() ? Ring::kMore | Ring::kMoreMasked : Ring::kMore;
            ptx::wait(ring.barrier(Ring::kKeysFree, slot.stage), slot.parity ^ 1);
            const unsigned of_walk = Blocks::kListed || Blocks::kProven ? at.flags & Ring::kOfWalk : 0;
            if (thread == 0) ring.put_header(slot.stage, {at.base, of_walk | more});
            if constexpr (Ring::kKeepsPositions) start_positions(slot.stage, at);
            start(keys, ring.key_tile(slot.stage), at, positions, ring.barrier(Ring::kKeysFull, slot.stage), arrivals);
            ptx::wait(ring.barrier(Ring::kValuesFree, slot.stage), slot.parity ^ 1);
            start(values, ring.value_tile(slot.stage), at, positions, ring.barrier(Ring::kValuesFull, slot.stage), arrivals);
            at = after;
            positions = positions_of(at);
            slot.advance();
        }
    }

    // Key `row` of a tile, among those that take part; at least key_count where there is none.
    __device__ int key_of(const KeyStep& at, int row) const {
        if constexpr (Blocks::kColumns) {
            if (at.is_columns()) return columns.key(at.base + row);
        }
        return at.base + row;
    }

    // Positions of the rows of a key tile that this thread copies.
    struct RowPositions {
        int of[kCopiesAtPositions ? KeyTile::kRowsOfThread : 1];
    };

    __device__ RowPositions positions_of(const KeyStep& at) const {
        RowPositions positions = {};
        if constexpr (kCopiesAtPositions) {
#pragma unroll
            for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
                const int j = key_of(at, KeyTile::row_of_thread(thread, n));
                positions.of[n] = j < rows.key_count ? rows.positions[j] : 0;
            }
        }
        return positions;
    }

    __device__ void start_positions(int stage, const KeyStep& at) const {
        static_assert(kKeyTile <= kWarpgroup);
        if (thread >= kKeyTile) return;
        const int j = key_of(at, thread);
        const bool valid = j < rows.key_count;
        ptx::copy_word_async(ring.positions_address(stage) + thread * 4, rows.positions + (valid ? j : 0), valid);
    }

    // Whether key_count cuts the tile at a key where neither the end of a tensor map nor rows of zeroes do.
    __device__ bool is_cut(int base) const {
        if constexpr (kGathered) return false;
        return base + kKeyTile > rows.key_count && (!kMapped || rows.key_count < problem.key_length);
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

    // Each warp of the producer arrives at every tile, for `arrivals` threads where the copy engine brings it, so that no tile is
    // full before all of them have come to it: one that others left two phases behind would wait for ever.
    __device__ void start(const Tensor& from, const KeyTile& to, const KeyStep& at, const RowPositions& positions, unsigned full,
                          int arrivals) const {
        const bool cut = (Blocks::kColumns && at.is_columns()) || is_cut(at.base);
        if constexpr (kMapped) {
            if (!cut) {
                if (thread == 0) {
                    ptx::arrive_expecting(full, KeyTile::kBytes);
                    ptx::copy_box_async(to.base, from.map, full, 0, at.base, 0, from.map_head, from.map_batch);
                }
                if (thread % kWarp == 0) ptx::arrive(full, arrivals);
                return;
            }
        }
        if (cut)
            copy_rows<true>(from, to, at, positions);
        else
            copy_rows<false>(from, to, at, positions);
        if constexpr (!kFencedByConsumers) {
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
    __device__ void copy_rows(const Tensor& from, const KeyTile& to, const KeyStep& at, const RowPositions& positions) const {
#pragma unroll
        for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
            const int j = key_of(at, KeyTile::row_of_thread(thread, n));
            const bool valid = !kCut || j < rows.key_count;
            const int position = kCopiesAtPositions ? positions.of[kCopiesAtPositions ? n : 0] : valid ? rows.key_position(j) : 0;
            to.copy_row_async(thread, n, from.head + position * from.row_bytes, valid);
        }
    }
};

}  // namespace attn
