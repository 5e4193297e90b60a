// Which keys each block of queries visits: what block selectors write and a block-sparse attention loop reads. The host knows
// its sizes and none of its contents. The host mirrors BlockList byte for byte.
//
//   row          what a query head of a sequence has: row(b, h)
//   query block  queries [i kBlockQuery, (i + 1) kBlockQuery), counted among the queries that take part
//   key block    keys [j kBlockKey, (j + 1) kBlockKey), counted among the keys that take part
//   diagonal     the queries stand at the end of the keys: query i has key i + key_count - query_count as its own
//
// A query attends to the union of three sets, each key once, up to its diagonal under a causal mask:
//   visit     bit j of a query block's words: it visits key block j. Rules apply there pair by pair, and a block that the
//             diagonal or the end cuts is cut.  partial, the same bit: a rule is said to cut the block, so it comes with those
//             that the diagonal cuts; the bit of a block that is not visited means nothing
//   columns   keys that every query of the head sees, ascending, each once
//   slashes   bit o: a query whose own key is d sees key d - o
#pragma once

#include <attncompose/problem.cuh>

namespace attn {

// A set of query heads below 256: bit h % 64 of word h / 64. Chosen among by hand, because an index into a kernel argument would
// put it on the stack.
struct HeadSet {
    unsigned long long words[4];

    __device__ bool has(int h) const {
        const unsigned long long low = h < 64 ? words[0] : words[1], high = h < 192 ? words[2] : words[3];
        return h < 256 && ((h < 128 ? low : high) >> h % 64 & 1) != 0;
    }
};

struct BlockList {
    unsigned long long *visit, *partial;  // [rows, query_blocks, words]
    int* columns;                         // [rows, column_capacity]; null where there are none
    int* column_count;                    // [rows]
    unsigned long long* slashes;          // [rows, slash_words]; null where there are none
    int query_blocks, words;              // one bit a key block
    int column_capacity, slash_words;     // one bit a key
    int batch_rows, head_rows;            // rows from a sequence or a head to the next; 0 where one row serves all
    HeadSet dense_heads;                  // heads for which a selector chooses every block and nothing beside them

    __device__ long long row(int b, int h) const { return static_cast<long long>(b) * batch_rows + h * head_rows; }
    __device__ unsigned long long* visit_of(long long row, int query_block) const {
        return visit + (row * query_blocks + query_block) * words;
    }
    __device__ unsigned long long* partial_of(long long row, int query_block) const {
        return partial + (row * query_blocks + query_block) * words;
    }
    __device__ int* columns_of(long long row) const { return columns + row * column_capacity; }
    __device__ unsigned long long* slashes_of(long long row) const { return slashes + row * slash_words; }
};
static_assert(sizeof(BlockList) == 96);

inline constexpr int kWordBits = 64;

__device__ inline bool has_bit(const unsigned long long* words, int bit) {
    return (words[bit / kWordBits] >> bit % kWordBits & 1) != 0;
}

}  // namespace attn
