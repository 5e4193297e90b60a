// The walk over a block list (block_list.cuh): blocks, then columns, then slashes.
#pragma once

#include <attncompose/attention/key_walk.cuh>

namespace attn {

// Config: kBlockQuery, kBlockKey. Selector: kColumns, kSlashes.
template <typename Config, typename Selector>
struct ListedBlocks {
    static constexpr bool kListed = true, kProven = false, kFirstAhead = true, kColumns = Selector::kColumns, kSlashes = Selector::kSlashes;
    static constexpr int kBlockQuery = Config::kBlockQuery, kBlockKey = Config::kBlockKey;
    static_assert((kBlockQuery == 64 || kBlockQuery == 128) && (kBlockKey == 64 || kBlockKey == 128));

    // Query blocks of a query tile.
    template <int kQueryTile>
    static constexpr int kParts = largest(kQueryTile / kBlockQuery, 1);

    BlockList block_list;

    __device__ Columns columns(int b, int h) const {
        if constexpr (kColumns) {
            const long long row = block_list.row(b, h);
            if (block_list.columns) return {block_list.columns_of(row), block_list.column_count[row]};
        }
        return {nullptr, 0};
    }

    __device__ bool is_slash(int b, int h, int offset) const {
        return offset >= 0 && offset < block_list.slash_words * kWordBits &&
               has_bit(block_list.slashes_of(block_list.row(b, h)), offset);
    }

    // Whether a pair in a tile of columns or slashes counts for nothing: a column in a visited block or on a slash is counted
    // there; beside slashes there is nothing. A walk leaves out tiles of slashes in visited blocks.
    __device__ bool hides(unsigned flags, int b, int h, int query_block, int diagonal, int key) const {
        if constexpr (kSlashes) {
            const bool on_slash = block_list.slashes && is_slash(b, h, diagonal - key);
            if (flags & KeyStep::kSlashes) return !on_slash;
            if (on_slash) return true;
        }
        return has_bit(block_list.visit_of(block_list.row(b, h), query_block), key / kBlockKey);
    }

    // The walk is taken by whole warps; every lane gets the same steps. Each lane holds a word of the bitmap at a time, so that
    // the list of a query block of up to 2048 key blocks is read at once.
    template <int kQueryTile, int kKeyTile>
    struct Walk {
        static constexpr int kParts = ListedBlocks::kParts<kQueryTile>;
        static constexpr int kTilesOfBlock = kBlockKey / kKeyTile;
        static_assert(kBlockKey % kKeyTile == 0 && (kQueryTile % kBlockQuery == 0 || kBlockQuery % kQueryTile == 0));

        enum Pass { kBlocks, kColumnTiles, kSlashTiles, kEnd };

        const ListedBlocks& list;
        WalkRange range;
        int pass, group;           // of words or, for slashes, of tiles; they are taken from the last one down
        int column;                // number of the next one
        int tile, tiles_left;      // of the block at hand
        unsigned flags;            // of them
        unsigned long long word, masked;  // blocks that are still to come in this lane's word, and those that need a mask
        unsigned long long visit[kParts];
        unsigned slash_tiles;      // of the group, by lanes

        // The last tile of the first block, before the list is read.
        __device__ KeyStep first() const {
            if (range.first_block < 0) return {0, 0};
            const int last = least((range.first_block + 1) * kTilesOfBlock, range.tiles) - 1;
            return {last * kKeyTile, KeyStep::kTile | KeyStep::kMasked | KeyStep::kFirst};
        }
        __device__ KeyStep next(unsigned& before) {
            for (;;) {
                const KeyStep step = next();
                if (!(before & KeyStep::kFirst)) return step;
                before = step.flags;
            }
        }
        __device__ KeyStep next() {
            for (;;) {
                if (pass == kEnd) return {0, 0};
                if (kColumns && pass == kColumnTiles) {
                    const Columns columns = list.columns(range.b, range.h);
                    const int base = column;
                    if (base < columns.count && columns.keys[base] < range.tiles * kKeyTile) {
                        column += kKeyTile;
                        return {base, KeyStep::kTile | KeyStep::kMasked | KeyStep::kColumns};
                    }
                    begin(kSlashTiles);
                } else if (kSlashes && pass == kSlashTiles) {
                    if (slash_tiles != 0) return next_slash_tile();
                    if (group == 0) {
                        begin(kEnd);
                    } else {
                        group--;
                        find_slash_tiles();
                    }
                } else {
                    if (tiles_left > 0) {
                        tiles_left--;
                        return {(tile + tiles_left) * kKeyTile, flags};
                    }
                    if (!find_block()) {
                        if (group == 0) {
                            begin(kColumns ? kColumnTiles : kSlashTiles);
                        } else {
                            group--;
                            load_words();
                        }
                    }
                }
            }
        }

        __device__ int blocks() const { return divide_up(range.tiles, kTilesOfBlock); }
        __device__ int query_block() const { return range.begin / kBlockQuery; }
        __device__ bool has_part(int p) const {
            return p == 0 || (query_block() + p) * kBlockQuery < range.end;
        }

        __device__ void begin(int next_pass) {
            if (!kSlashes && next_pass == kSlashTiles) next_pass = kEnd;
            pass = next_pass;
            if (pass == kSlashTiles) {
                group = list.block_list.slashes ? divide_up(range.tiles, kWarp) : 0;
                slash_tiles = 0;
            } else {
                group = divide_up(blocks(), kWarp * kWordBits);
                word = 0;
            }
        }

        // Bits of a word from block `first` on.
        static __device__ unsigned long long bits_from(int first, int word_index) {
            const int bit = first - word_index * kWordBits;
            return bit <= 0 ? ~0ull : bit >= kWordBits ? 0 : ~0ull << bit;
        }

        __device__ void load_words() {
            const int index = group * kWarp + lane_id();
            const long long row = list.block_list.row(range.b, range.h);
            unsigned long long visited = 0;
            masked = bits_from(range.whole_tiles / kTilesOfBlock, index);
#pragma unroll
            for (int p = 0; p < kParts; p++) {
                visit[p] = 0;
                if (index < list.block_list.words && has_part(p)) {
                    visit[p] = list.block_list.visit_of(row, query_block() + p)[index];
                    masked |= visit[p] & list.block_list.partial_of(row, query_block() + p)[index];
                }
                visited |= visit[p];
            }
            word = visited & ~bits_from(blocks(), index);
        }

        // Takes the last block that is left in the group.
        __device__ bool find_block() {
            const unsigned lanes = __ballot_sync(kAllLanes, word != 0);
            if (lanes == 0) return false;
            const int lane = 31 - __clz(static_cast<int>(lanes));
            const unsigned long long bits = __shfl_sync(kAllLanes, word, lane);
            const int bit = 63 - __clzll(static_cast<long long>(bits));
            if (lane_id() == lane) word &= ~(1ull << bit);
            tile = ((group * kWarp + lane) * kWordBits + bit) * kTilesOfBlock;
            tiles_left = least(kTilesOfBlock, range.tiles - tile);
            flags = (__shfl_sync(kAllLanes, masked, lane) >> bit & 1) != 0 ? KeyStep::kTile | KeyStep::kMasked : KeyStep::kTile;
            if constexpr (kParts > 1) {
#pragma unroll
                for (int p = 0; p < kParts; p++) {
                    const bool taken = (__shfl_sync(kAllLanes, visit[p], lane) >> bit & 1) != 0;
                    flags |= taken ? 0 : KeyStep::kSkipped << p;
                }
            }
            return true;
        }

        // Parts that visit the block of a tile, or that do not exist: slashes bring them nothing there.
        __device__ unsigned parts_without_slashes(int at) const {
            const long long row = list.block_list.row(range.b, range.h);
            unsigned parts = 0;
#pragma unroll
            for (int p = 0; p < kParts; p++) {
                if (!has_part(p) || has_bit(list.block_list.visit_of(row, query_block() + p), at / kTilesOfBlock))
                    parts |= KeyStep::kSkipped << p;
            }
            return parts;
        }

        __device__ void find_slash_tiles() {
            constexpr unsigned kAllParts = KeyStep::kSkipped * ((1u << kParts) - 1);
            const int at = group * kWarp + lane_id();
            bool found = false;
            if (at < range.tiles && parts_without_slashes(at) != kAllParts) {
                const int last_offset = range.first_diagonal + (range.end - range.begin - 1) - at * kKeyTile;
                const int first_offset = largest(range.first_diagonal - (at * kKeyTile + kKeyTile - 1), 0);
                const unsigned long long* slashes = list.block_list.slashes_of(list.block_list.row(range.b, range.h));
                for (int w = first_offset / kWordBits; w * kWordBits <= last_offset && w < list.block_list.slash_words; w++)
                    found |= (slashes[w] & bits_from(first_offset, w) & ~bits_from(last_offset + 1, w)) != 0;
            }
            slash_tiles = __ballot_sync(kAllLanes, found);
        }

        __device__ KeyStep next_slash_tile() {
            const int lane = 31 - __clz(static_cast<int>(slash_tiles));
            slash_tiles &= ~(1u << lane);
            const int at = group * kWarp + lane;
            return {at * kKeyTile, KeyStep::kTile | KeyStep::kMasked | KeyStep::kSlashes | parts_without_slashes(at)};
        }
    };

    template <int kQueryTile, int kKeyTile>
    __device__ Walk<kQueryTile, kKeyTile> walk(const WalkRange& range) const {
        Walk<kQueryTile, kKeyTile> walk{*this, range};
        walk.column = 0;
        walk.tiles_left = 0;
        walk.begin(Walk<kQueryTile, kKeyTile>::kBlocks);
        return walk;
    }
};

}  // namespace attn
