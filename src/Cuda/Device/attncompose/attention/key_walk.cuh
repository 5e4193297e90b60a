// Which tiles of keys an attention main loop visits, in which order, and which of them need a mask: the loop asks a walk for the
// next one until there is none. Their order is its own; the first one is treated as if it needed a mask.
//
//   query tile   the queries that one thread block owns; part p of it lies in its p-th query block (block_list.cuh)
//   key tile     keys that are copied and multiplied together; it lies in one key block
//   diagonal     the key of a query's own position, up to which it sees keys under a causal mask
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/block_list.cuh>

namespace attn {

// A key tile of a walk.
struct KeyStep {
    static constexpr unsigned kTile = 1, kMasked = 2;
    static constexpr unsigned kColumns = 8;   // its keys are columns of the head's list, from number `base` on
    static constexpr unsigned kSlashes = 16;  // of its pairs only those on slashes count
    static constexpr unsigned kSkipped = 32;  // shifted by p: part p of the query tile takes none of it
    static constexpr unsigned kRuled = 256;   // where the walk judges mask rules: one of them may hide some of its pairs
    static constexpr unsigned kFirst = 512;   // it was given before anything was judged

    int base;        // its first key
    unsigned flags;  // 0 behind the last one

    __device__ bool is_tile() const { return flags != 0; }
    __device__ bool is_masked() const { return (flags & kMasked) != 0; }
    __device__ bool is_columns() const { return (flags & kColumns) != 0; }
    __device__ bool is_slashes() const { return (flags & kSlashes) != 0; }
    __device__ bool is_skipped(int part) const { return (flags & kSkipped << part) != 0; }
};

// What a walk is about: the queries [begin, end) of a head. The first key tiles up to `tiles` hold all keys that any of them
// sees under the pipeline's mask; of these, every query sees all of the first whole_tiles.
struct WalkRange {
    int b, h, g;
    int begin, end;
    int first_diagonal;  // of query `begin`
    int tiles, whole_tiles;
    int keys;              // that take part
    const int* positions;  // of them in the original sequence; null where all take part
    int first_block;       // that the order of tiles knows the walk to begin with; -1 where it does not

    __device__ int position(int j) const { return positions ? positions[j] : j; }
};

// Of the query tile from query `begin` on, where there is one.
template <bool kCausal, int kQueryTile, int kKeyTile, bool kIndexed>
__device__ inline WalkRange walk_range_of(const HeadRows<kIndexed>& rows, int b, int h, int g, int begin) {
    const int end = least(begin + kQueryTile, rows.query_count);
    return {b,
            h,
            g,
            begin,
            end,
            begin + rows.key_count - rows.query_count,
            divide_up(largest(rows.template last_key<kCausal>(end - 1) + 1, 0), kKeyTile),
            largest(rows.template last_key<kCausal>(begin) + 1, 0) / kKeyTile,
            rows.key_count,
            kIndexed ? rows.positions : nullptr,
            -1};
}

// A query tile, and the key block that its walk begins with, or -1 where that is not known.
struct TilePlace {
    int tile, first_block;
};

struct Columns {
    const int* keys;  // ascending
    int count;

    // The key of a column, behind every diagonal where there is none.
    __device__ int key(int number) const { return number < count ? keys[number] : 0x7FFFFFFF; }
};

// Says in which order the query tiles of a head are taken up, place_of(), and gives the walk of one of them. kListed says that
// there is a list; then kColumns and kSlashes say what it may hold beside blocks, and hides() which pairs of a tile of those
// do not count, apart from the mask. kProven says that a tile without a mask was shown to need no mask rule either. kFirstAhead:
// a walk has first(), for a loop that wants a tile before anything is known of it. That one does not come again, and next(flags),
// with the flags of the tile before, makes them right; where rules decide about it (kProven), is_first_ruled() says at once whether one
// may hide something of it.
template <typename T>
concept KeyBlocks = requires(const T blocks, const Problem& problem, const WalkRange& range) {
    requires !(T::kListed && T::kProven);
    { blocks.place_of(problem, 0, 0, 0, 1) } -> SameAs<TilePlace>;
    { blocks.template walk<64, 64>(range).next() } -> SameAs<KeyStep>;
};

// Every key tile, from the diagonal to the first key.
template <typename Config>
struct EveryBlock {
    static constexpr bool kListed = false, kColumns = false, kSlashes = false, kProven = false, kFirstAhead = false;
    template <int kQueryTile>
    static constexpr int kParts = 1;

    template <int kQueryTile, int kKeyTile>
    struct Walk {
        int tile, whole_tiles;

        __device__ KeyStep next() {
            if (--tile < 0) return {0, 0};
            return {tile * kKeyTile, tile < whole_tiles ? KeyStep::kTile : KeyStep::kTile | KeyStep::kMasked};
        }
    };

    __device__ Columns columns(int, int) const { return {nullptr, 0}; }

    // The tiles at the end see the most keys under a causal mask.
    __device__ TilePlace place_of(const Problem&, int, int, int rank, int tiles) const {
        return {Config::kCausal ? tiles - 1 - rank : rank, -1};
    }

    template <int kQueryTile, int kKeyTile>
    __device__ Walk<kQueryTile, kKeyTile> walk(const WalkRange& range) const {
        return {range.tiles, range.whole_tiles};
    }
};

}  // namespace attn
