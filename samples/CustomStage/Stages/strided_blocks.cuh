// Block selector of a fixed pattern: the key blocks of a query block's own keys, and every `stride`-th one away from them.
//
//   own      blocks [nearest, ...] that hold the own key of one of the queries
//   strided  blocks j with (j - nearest) a multiple of stride
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/block_lists/query_block.cuh>

namespace attn {

// Config: kBlockQuery, kBlockKey, kCausal.
template <typename Config, typename Rows, typename Score>
struct StridedBlocks {
    static constexpr bool kColumns = false, kSlashes = false;

    struct Select {
        static constexpr int kThreads = 64;
        static constexpr int kTile = Config::kBlockQuery;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            BlockList block_list;
            int stride;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const QueryBlock<Config> block(source.rows(problem, sequence_of(problem, b), b, h), index);
            if (block.is_empty()) return;
            const BlockList& list = arguments.block_list;
            const bool dense = list.dense_heads.has(h);
            const int nearest = largest(block.first_diagonal, 0) / Config::kBlockKey;
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                return dense || block.holds_diagonal(j) || (j - nearest) % arguments.stride == 0;
            });
        }
    };
};

}  // namespace attn
