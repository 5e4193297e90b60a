// Block selector after MoBA (arXiv 2502.13189): each query block visits the key blocks whose mean key its mean query likes best.
//
//   score[i][j]   scale mean(Q_i) . mean(K_j) (block_lists/pooled_rows.cuh)
//   current       the key blocks that hold the own key of one of the queries
//   chosen        the current blocks, and of the others that the queries may see the top_k highest
//
// A row of scores that is not finite visits everything.
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/pooled_rows.cuh>
#include <attncompose/block_lists/query_block.cuh>

namespace attn {

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal.
template <typename Config, typename Rows, typename Score>
struct PooledTopK {
    static constexpr bool kColumns = false, kSlashes = false;

    using PoolKeys = PooledKeys<Config, Rows, Score>;

    struct Select {
        static constexpr int kThreads = 256;
        static constexpr int kTile = Config::kBlockQuery;
        using Choice = BlockChoice<kThreads>;
        using Means = PooledRows<Config, kThreads>;

        struct Shared {
            union {
                typename Choice::Shared choice;
                float scratch[Means::kSharedFloats];
            };
            float query[Config::kHeadDim];
            float sums[kThreads / kWarp];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float* pooled_keys;
            float* block_scores;  // [batch, query heads, query blocks, key blocks]
            BlockList block_list;
            int top_k;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty()) return;
            const BlockList& list = arguments.block_list;
            unsigned long long* visit = list.visit_of(list.row(b, h), index);
            bool every = list.dense_heads.has(h);
            if (!every) {
                float* row = arguments.block_scores + BlockScores<Config>::place(problem, b, h, index);
                Means::mean_query(problem, rows, b, h, block.begin, block.end, shared.scratch, shared.query);
                Means::score_row(shared.query, arguments.pooled_keys + PoolKeys::place(problem, b, h), block.key_blocks,
                                 problem.scale, [](int) { return true; }, shared.sums, row);
                every = !Means::is_finite_row(block.key_blocks, shared.sums, row);
                if (!every) {  // the words of the list hold the choice until they are written whole
                    const auto other = [&](int j) { return block.holds_diagonal(j) ? -kInfinity : row[j]; };
                    const Cut cut = Choice::highest(shared.choice, block.key_blocks, arguments.top_k, other);
                    Choice::mark(shared.choice, block.key_blocks, cut, other, visit);
                    __syncthreads();
                }
            }
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                return every || block.holds_diagonal(j) || has_bit(visit, j);
            });
        }
    };
};

}  // namespace attn
