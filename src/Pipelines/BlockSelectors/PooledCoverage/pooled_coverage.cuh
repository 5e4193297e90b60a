// Block selector after SpargeAttn (arXiv 2502.18137): the map between block means says what is visited, where the means can be
// trusted because the rows of a block are alike.
//
//   similarity     of the rows of a block (block_lists/similar_rows.cuh); a block is similar where it is at least theta
//   P[i]           softmax of scale mean(Q_i) . mean(K_j) over the similar key blocks j that query block i may see
//   chosen         the fewest j, highest P[i][j] first, that hold tau of the sum; every key block that is not similar, every key
//                  block for a query block that is not similar, and those that hold the diagonal
//
// A row of scores that is not finite visits everything.
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/query_block.cuh>
#include <attncompose/block_lists/similar_rows.cuh>

namespace attn {

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal.
template <typename Config, typename Rows, typename Score>
struct PooledCoverage {
    static constexpr bool kColumns = false, kSlashes = false;
    static constexpr int kBlockKey = Config::kBlockKey;
    using Element = typename Config::Element;
    using Keys = PooledKeys<Config, Rows, Score>;

    // Where the similarities of the key blocks that a query head reads begin.
    static __device__ long long similarities_of(const Problem& problem, int b, int h) {
        return Keys::place(problem, b, h) / Config::kHeadDim;
    }

    struct PoolKeys {
        static constexpr int kThreads = 256;
        static constexpr int kTile = kBlockKey;
        using Means = SimilarRows<Config, kThreads>;
        static constexpr int kSharedBytes = Means::kSharedFloats * static_cast<int>(sizeof(float));

        struct Arguments {
            float* pooled_keys;   // as in PooledKeys
            float* similarities;  // [batch, query heads, key blocks], in the same order
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared) {
            using HeadRowsOf = typename Keys::HeadRowsOf;
            Keys::for_each_block(problem, source, [&](int b, int g, int h, int j, int begin, int end, const HeadRowsOf& rows) {
                const auto* base = static_cast<const unsigned char*>(problem.key);
                const long long head = problem.key_strides.at(b, g);
                const auto row_of = [&](int i) {
                    const long long offset = head + rows.key_position(begin + i) * problem.key_strides.row;
                    return base + offset * static_cast<long long>(sizeof(Element));
                };
                float* to = arguments.pooled_keys + Keys::place(problem, b, h) + static_cast<long long>(j) * Config::kHeadDim;
                const float similarity = Means::mean(end - begin, row_of, reinterpret_cast<float*>(shared), to);
                if (threadIdx.x == 0) arguments.similarities[similarities_of(problem, b, h) + j] = similarity;
            });
        }
    };

    struct Select {
        static constexpr int kThreads = 256;
        static constexpr int kTile = Config::kBlockQuery;
        using Choice = BlockChoice<kThreads>;
        using Means = PooledRows<Config, kThreads>;
        using Queries = SimilarRows<Config, kThreads>;

        struct Shared {
            union {
                typename Choice::Shared choice;
                float scratch[Queries::kSharedFloats];
            };
            float query[Config::kHeadDim];
            float sums[kThreads / kWarp];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float *pooled_keys, *similarities;
            float* block_scores;  // [batch, query heads, query blocks, key blocks]
            BlockList block_list;
            double tau, theta;
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
            const float* similarities = arguments.similarities + similarities_of(problem, b, h);
            const auto is_similar = [&](float similarity) { return static_cast<double>(similarity) >= arguments.theta; };
            bool every = list.dense_heads.has(h) || !is_similar(pool(problem, rows, b, h, block, shared));
            if (!every) {
                float* row = arguments.block_scores + BlockScores<Config>::place(problem, b, h, index);
                const float highest = Means::score_row(
                    shared.query, arguments.pooled_keys + Keys::place(problem, b, h), block.key_blocks, problem.scale,
                    [&](int j) { return is_similar(similarities[j]); }, shared.sums, row);
                Means::softmax_row(highest, block.key_blocks, shared.sums, row);
                every = !Means::is_finite_row(block.key_blocks, shared.sums, row);
                if (!every) {  // the words of the list hold the choice until they are written whole
                    const auto share = [&](int j) { return row[j]; };
                    const Cut cut = Choice::covering(shared.choice, block.key_blocks, arguments.tau, share);
                    Choice::mark(shared.choice, block.key_blocks, cut, share, visit);
                    __syncthreads();
                }
            }
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                return every || block.holds_diagonal(j) || !is_similar(similarities[j]) || has_bit(visit, j);
            });
        }

        // Mean query to shared.query; returns the similarity.
        template <typename HeadRowsOf>
        static __device__ float pool(const Problem& problem, const HeadRowsOf& rows, int b, int h,
                                     const QueryBlock<Config>& block, Shared& shared) {
            const auto* base = static_cast<const unsigned char*>(problem.query);
            const long long head = problem.query_strides.at(b, h);
            const auto row_of = [&](int i) {
                const long long offset = head + rows.query_row(block.begin + i) * problem.query_strides.row;
                return base + offset * static_cast<long long>(sizeof(Element));
            };
            const float similarity = Queries::mean(block.end - block.begin, row_of, shared.scratch, shared.query);
            __syncthreads();
            return similarity;
        }
    };
};

}  // namespace attn
