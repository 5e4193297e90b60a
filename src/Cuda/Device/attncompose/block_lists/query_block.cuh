// Where one block of queries stands among the keys that take part, and how its words of a block list are written.
//
//   diagonal   a query's own key; below 0 for the first queries where there are more queries than keys
#pragma once

#include <attncompose/block_list.cuh>
#include <attncompose/tile.cuh>

namespace attn {

// Config: kBlockQuery, kBlockKey, kCausal.
template <typename Config>
struct QueryBlock {
    int begin, end;                     // its queries among those that take part
    int first_diagonal, last_diagonal;  // of those queries
    int key_blocks;                     // key blocks that hold a key which one of the queries may see: these, from block 0 on

    template <typename Rows>
    __device__ QueryBlock(const Rows& rows, int index)
        : begin(index * Config::kBlockQuery),
          end(least(begin + Config::kBlockQuery, rows.query_count)),
          first_diagonal(rows.key_count - rows.query_count + begin),
          last_diagonal(rows.key_count - rows.query_count + end - 1),
          key_blocks(divide_up(Config::kCausal ? largest(0, last_diagonal + 1) : rows.key_count, Config::kBlockKey)) {}

    __device__ bool is_empty() const { return begin >= end; }

    // Whether a key block holds the own key of one of the queries.
    __device__ bool holds_diagonal(int key_block) const {
        return key_block * Config::kBlockKey <= last_diagonal && first_diagonal < (key_block + 1) * Config::kBlockKey;
    }
};

// Scores of all pairs of blocks, [batch, query heads, query blocks, key blocks]. Config: kBlockQuery, kBlockKey.
template <typename Config>
struct BlockScores {
    // Where those of a query block begin.
    static __device__ long long place(const Problem& problem, int b, int h, int query_block) {
        const long long head = static_cast<long long>(b) * problem.query_heads + h;
        return (head * divide_up(problem.query_length, Config::kBlockQuery) + query_block) *
               divide_up(problem.key_length, Config::kBlockKey);
    }
};

// Whether one of the bits [first, last] is set, those below `count`; bits below 0 are not.
__device__ inline bool any_bit(const unsigned long long* words, int first, int last, int count) {
    first = largest(first, 0);
    last = least(last, count - 1);
    for (int word = first / kWordBits; word * kWordBits <= last; word++) {
        unsigned long long bits = words[word];
        if (word == first / kWordBits) bits &= ~0ull << first % kWordBits;
        if (word == last / kWordBits) bits &= ~0ull >> (kWordBits - 1 - last % kWordBits);
        if (bits != 0) return true;
    }
    return false;
}

// Writes every word of a query block: bit j is visits(j) for the key blocks j below key_blocks, 0 from there on. kPartial says
// that a mask rule may cut the visited blocks. All threads of the block call it; visits() is called by whole warps.
template <int kThreads, bool kPartial, typename Visits>
__device__ inline void write_visits(const BlockList& list, long long row, int query_block, int key_blocks,
                                    Visits visits) {
    unsigned long long* visit = list.visit_of(row, query_block);
    unsigned long long* partial = list.partial_of(row, query_block);
    for (int word = warp_id(); word < list.words; word += kThreads / kWarp) {
        const int j = word * kWordBits + lane_id();
        const unsigned low = __ballot_sync(kAllLanes, j < key_blocks && visits(j));
        const unsigned high = __ballot_sync(kAllLanes, j + kWarp < key_blocks && visits(j + kWarp));
        const unsigned long long bits = static_cast<unsigned long long>(high) << kWarp | low;
        if (lane_id() == 0) {
            visit[word] = bits;
            partial[word] = kPartial ? bits : 0;
        }
    }
}

}  // namespace attn
