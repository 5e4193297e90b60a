// In which order the blocks of an attention kernel, one a query tile of a query head, take up their work.
#pragma once

#include <attncompose/element.cuh>
#include <attncompose/problem.cuh>

namespace attn {

struct Work {
    int b, h;
    int rank;  // of the query tile among those of its head
};

// Blocks start in order of their index. The tiles of lowest rank, which see the most keys, come first, of as many heads at a
// time as their keys and values fit the L2 cache together; query heads that share them are neighbours. The grid is (query
// tiles, query heads, batch), or (query tiles, heads of a range, 1); `sharing` neighbours share keys and values. Every warp of a
// block waits for this before anything else, so it divides seldom: the key length counts as the next power of two.
template <typename Element, int kHeadDim>
__device__ inline Work work_of_block(const Problem& problem, unsigned range_begin, unsigned sharing) {
    constexpr unsigned kCachedRows = (32u << 20) / (2 * kHeadDim * sizeof(Element));
    const unsigned tiles = gridDim.x, heads = gridDim.y * gridDim.z;
    const unsigned key_bits = 32 - static_cast<unsigned>(__clz(largest(problem.key_length, 1) - 1));
    const unsigned cached = least(largest(kCachedRows >> key_bits, 1u) * sharing, heads);
    unsigned first_head = 0, section = cached;
    unsigned index = blockIdx.x + tiles * (blockIdx.y + gridDim.y * blockIdx.z);
    const bool is_small = tiles * heads <= kSmallDividend;
    if (cached < heads) {
        first_head = (is_small ? divide_small(index, tiles * cached) : index / (tiles * cached)) * cached;
        section = least(cached, heads - first_head);
        index -= first_head * tiles;
    }
    const unsigned rank = is_small ? divide_small(index, section) : index / section;
    const unsigned head = range_begin + first_head + (index - rank * section);
    const unsigned b = problem.batch == 1 ? 0 : head / static_cast<unsigned>(problem.query_heads);
    return {static_cast<int>(b), static_cast<int>(head - b * static_cast<unsigned>(problem.query_heads)), static_cast<int>(rank)};
}

}  // namespace attn
