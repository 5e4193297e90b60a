// Block selector: attention sinks and a local window (StreamingLLM, arXiv 2309.17453; the A-shape of MInference, arXiv
// 2407.02490). No score is looked at: which blocks are visited follows from their places.
//
//   sink    the first keys of the sequence
//   local   a query at d sees (d - local, d], under a full mask (d - local, d + local)
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/block_lists/query_block.cuh>

namespace attn {

// Config: kBlockQuery, kBlockKey, kCausal.
template <typename Config, typename Rows, typename Score>
struct StreamingBlocks {
    static constexpr bool kColumns = false, kSlashes = false;

    struct Select {
        static constexpr int kThreads = 64;
        static constexpr int kTile = Config::kBlockQuery;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            BlockList block_list;
            int sink, local;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty()) return;
            // Reckoned in 64 bits: a window may be as long as an int.
            const long long first_local = static_cast<long long>(block.first_diagonal) - arguments.local + 1;
            const long long last_local =
                static_cast<long long>(block.last_diagonal) + (Config::kCausal ? 0 : arguments.local - 1);
            const BlockList& list = arguments.block_list;
            const bool dense = list.dense_heads.has(h);
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                const int first_key = j * Config::kBlockKey, last_key = first_key + Config::kBlockKey - 1;
                return dense || first_key < arguments.sink || (first_key <= last_local && first_local <= last_key);
            });
        }
    };
};

}  // namespace attn
