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

    // So that the copy engine knows them when it is asked.
    static __device__ void prefetch_maps(const Rows& source) {
        ptx::prefetch_map(&source.maps->key);
        ptx::prefetch_map(&source.maps->value);
    }

    // Copies the tiles of a walk over the first `tiles` key tiles.
    template <typename Walk>
    __device__ void run(Walk walk, int tiles) const {
        // What consumers wait for first is asked for before all else.
        if constexpr (kMapped && Blocks::kFirstAhead) {
            const KeyStep first = walk.first();
            if (is_asked_ahead(first)) ask(tensor(Which::kKeys), ring.key_tile(0), first, ring.barrier(Ring::kKeysFull, 0));
        }
        KeyStep at = first_of(walk);
        if (!at.is_tile()) {
            if (thread == 0) ring.put_header(0, {0, 0});
            ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            if (thread == 0) ptx::arrive(ring.barrier(Ring::kKeysFull, 0));
            return;
        }
        // The copy engine is asked by one thread; the other warps are needed for a cut tile and for columns alone.
        const bool alone = kMapped && !is_cut((tiles - 1) * kKeyTile) && columns.count == 0;
        if (alone && thread >= kWarp) return;
        const int arrivals = alone ? kWarpgroup : kWarp;
        const Tensor keys = tensor(Which::kKeys), values = tensor(Which::kValues);
        typename Ring::Slot slot;
        RowPositions positions = positions_of(at);
        while (at.is_tile()) {
            const unsigned keys_full = ring.barrier(Ring::kKeysFull, slot.stage), values_full = ring.barrier(Ring::kValuesFull, slot.stage);
            if (!is_asked_ahead(at)) {
                ptx::wait(ring.barrier(Ring::kKeysFree, slot.stage), slot.parity ^ 1);
                if constexpr (Ring::kKeepsPositions) start_positions(slot.stage, at);
                start(keys, ring.key_tile(slot.stage), at, positions, keys_full);
            }
            // The walk goes on while the keys are on their way, and tells of a first tile when it knows.
            const bool is_first = Blocks::kFirstAhead && (at.flags & KeyStep::kFirst);
            if (is_first) {
                if (thread == 0) ring.put_header(slot.stage, {at.base, at.flags});
                arrive(at, keys_full, arrivals);
            }
            const KeyStep after = next_of(walk, at);
            const unsigned flags = at.flags | Ring::more_of(after);
            if (!is_first) {
                if (thread == 0) ring.put_header(slot.stage, {at.base, flags});
                arrive(at, keys_full, arrivals);
            } else if (thread == 0) {
                ring.put_told(flags);
                ptx::arrive(ring.told_barrier());
            }
            ptx::wait(ring.barrier(Ring::kValuesFree, slot.stage), slot.parity ^ 1);
            start(values, ring.value_tile(slot.stage), at, positions, values_full);
            arrive(at, values_full, arrivals);
            at = after;
            positions = positions_of(at);
            slot.advance();
        }
    }

    template <typename Walk>
    static __device__ KeyStep next_of(Walk& walk, KeyStep& before) {
        if constexpr (Blocks::kFirstAhead)
            return walk.next(before.flags);
        else
            return walk.next();
    }
    template <typename Walk>
    static __device__ KeyStep first_of(Walk& walk) {
        if constexpr (Blocks::kProven) return walk.first();
        if constexpr (Blocks::kListed) {
            const KeyStep first = walk.first();
            if (first.is_tile()) return first;
        }
        return walk.next();
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
        const void* base;
        const Strides& strides;
        const TensorMap* map;
        int map_head, map_batch;
    };
    enum class Which { kKeys, kValues };

    __device__ Tensor tensor(Which which) const {
        const bool of_keys = which == Which::kKeys;
        Tensor tensor{of_keys ? problem.key : problem.value, of_keys ? problem.key_strides : problem.value_strides, nullptr, g, b};
        if constexpr (kGathered) {
            tensor.map_head = b * problem.query_heads + h - source.heads.first;
            tensor.map_batch = 0;
        }
        if constexpr (kMapped) tensor.map = of_keys ? &source.maps->key : &source.maps->value;
        return tensor;
    }

    __device__ bool is_copied_by_rows(const KeyStep& at) const {
        return !kMapped || (Blocks::kColumns && at.is_columns()) || is_cut(at.base);
    }

    __device__ void start(const Tensor& from, const KeyTile& to, const KeyStep& at, const RowPositions& positions, unsigned full) const {
        if (is_copied_by_rows(at)) {
            if ((Blocks::kColumns && at.is_columns()) || is_cut(at.base))
                copy_rows<true>(from, to, at, positions);
            else
                copy_rows<false>(from, to, at, positions);
            ptx::commit_copies();
        } else if constexpr (kMapped) {
            ask(from, to, at, full);
        }
    }

    // Of the copy engine, by one thread.
    __device__ void ask(const Tensor& from, const KeyTile& to, const KeyStep& at, unsigned full) const {
        if (thread != 0) return;
        ptx::arrive_expecting(full, KeyTile::kBytes);
        ptx::copy_box_async(to.base, from.map, full, 0, at.base, 0, from.map_head, from.map_batch);
    }
    __device__ bool is_asked_ahead(const KeyStep& at) const {
        return kMapped && Blocks::kFirstAhead && (at.flags & KeyStep::kFirst) && !is_copied_by_rows(at);
    }

    // Each warp of the producer arrives at every tile, for `arrivals` threads where the copy engine brings it, so that no tile is
    // full before all of them have come to it: one that others left two phases behind would wait for ever.
    __device__ void arrive(const KeyStep& at, unsigned full, int arrivals) const {
        if (!is_copied_by_rows(at)) {
            if (thread % kWarp == 0) ptx::arrive(full, arrivals);
            return;
        }
        if constexpr (!kFencedByConsumers) {
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
        // Where the copy engine brings most tiles, what these need is not kept in registers for them.
        const int thread = rarely(this->thread), b = rarely(this->b), g = rarely(this->g);
        const auto* head = static_cast<const unsigned char*>(from.base) + from.strides.at(b, g) * static_cast<long long>(sizeof(T));
        const long long row_bytes = from.strides.row * static_cast<long long>(sizeof(T));
#pragma unroll kMapped ? 1 : KeyTile::kRowsOfThread
        for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
            const int j = key_of(at, KeyTile::row_of_thread(thread, n));
            const bool valid = !kCut || j < rows.key_count;
            const int position = kCopiesAtPositions ? positions.of[kCopiesAtPositions ? n : 0] : valid ? rows.key_position(j) : 0;
            to.copy_row_async(thread, n, head + position * row_bytes, valid);
        }
    }
    __device__ static int rarely(int value) { return kMapped ? ptx::recomputed(value) : value; }
};

}  // namespace attn
