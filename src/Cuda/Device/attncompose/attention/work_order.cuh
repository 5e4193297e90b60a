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
// tiles, query heads, batch), or (query tiles, heads of a range, 1); `sharing` neighbours share keys and values.
template <typename Element, int kHeadDim>
__device__ inline Work work_of_block(const Problem& problem, int range_begin, int sharing) {
    constexpr long long kCacheBytes = 32 << 20;
    const int tiles = static_cast<int>(gridDim.x), heads = static_cast<int>(gridDim.y * gridDim.z);
    const int index = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
    const long long head_bytes = 2ll * problem.key_length * kHeadDim * static_cast<int>(sizeof(Element));
    const long long cached_heads = largest(kCacheBytes / largest(head_bytes, 1ll), 1ll) * sharing;
    const int cached = static_cast<int>(least<long long>(cached_heads, heads));
    const int first_head = index / (tiles * cached) * cached;
    const int section = least(cached, heads - first_head);
    const int in_section = index - first_head * tiles;
    const int head = range_begin + first_head + in_section % section;
    return {head / problem.query_heads, head % problem.query_heads, in_section / section};
}

}  // namespace attn
