// Block selector of SeerAttention (arXiv 2410.13276): a learned gate scores pairs of blocks, by weights that the caller gives.
//
//   gq[i]        mean(Q_i) query_gate[h]                                 [gate dim]
//   gk[j]        (max(K_j), min(K_j), mean(K_j)) key_gate[h]             [gate dim]; each per channel, over the keys of the block
//   score[i][j]  gq[i] . gk[j] / sqrt(gate dim)
//   forced       the first key block, and the key blocks that hold the own key of one of the queries
//   chosen       the forced blocks, and of the others that the queries may see the `count` highest; where count is 0, those whose
//                softmax over all that the queries may see is at least the threshold
//
// A row of scores that is not finite visits everything. All sums have a fixed order.
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/pooled_rows.cuh>
#include <attncompose/block_lists/query_block.cuh>

namespace attn {

// Product of a vector and a matrix of kGateDim columns by a whole thread block.
template <int kGateDim, int kThreads>
struct GateProduct {
    static constexpr int kParts = kThreads / kGateDim;  // threads that share a column, each with rows of its own
    static_assert(kParts >= 1);
    static constexpr int kSharedFloats = kParts * kGateDim;

    // to[c] = sum over i < count of vector[i] weights[i][c]. `vector` is shared; `to` may be shared or global. All threads call it.
    static __device__ void run(const float* vector, int count, const float* weights, float* scratch, float* to) {
        const int column = static_cast<int>(threadIdx.x) % kGateDim, part = static_cast<int>(threadIdx.x) / kGateDim;
        __syncthreads();  // the vector is whole, and an earlier use of the scratch is over
        if (part < kParts) {
            float sum = 0;
#pragma unroll 4
            for (int i = part; i < count; i += kParts) sum += vector[i] * weights[static_cast<long long>(i) * kGateDim + column];
            scratch[part * kGateDim + column] = sum;
        }
        __syncthreads();
        if (threadIdx.x < kGateDim) {
            float sum = 0;
            for (int p = 0; p < kParts; p++) sum += scratch[p * kGateDim + threadIdx.x];
            to[threadIdx.x] = sum;
        }
        __syncthreads();
    }
};

// Largest, least and mean row of a block of keys, per channel. Config: kHeadDim, Element.
template <typename Config, int kThreads>
struct PooledExtremes {
    using Element = typename Config::Element;
    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kChunks = kHeadDim / kChunkElements;
    static constexpr int kGroups = kThreads / kChunks;  // groups of threads, each with rows of its own
    static_assert(kGroups >= 1 && kThreads >= kHeadDim);
    static constexpr int kPools = 3;
    static constexpr int kSharedFloats = kPools * kGroups * kHeadDim;

    // Of `count` rows, at least one, to `to`, shared, [kPools][kHeadDim]; row_of(i) is where row i begins in global memory. All
    // threads call it. fmaxf and fminf pass over a NaN; the mean does not, so that the row of scores is not finite.
    template <typename RowOf>
    static __device__ void pool(int count, RowOf row_of, float* scratch, float* to) {
        const int chunk = static_cast<int>(threadIdx.x) % kChunks, group = static_cast<int>(threadIdx.x) / kChunks;
        float most[kChunkElements], least_of[kChunkElements], sums[kChunkElements];
#pragma unroll
        for (int e = 0; e < kChunkElements; e++) {
            most[e] = -kInfinity;
            least_of[e] = kInfinity;
            sums[e] = 0;
        }
        if (group < kGroups) {
            for (int i = group; i < count; i += kGroups) {
                const Chunk c = *(reinterpret_cast<const Chunk*>(row_of(i)) + chunk);
#pragma unroll
                for (int e = 0; e < kChunkElements; e++) {
                    const float x = ptx::to_float<Element>(c.words[e / 2] >> (e % 2 * 16));
                    most[e] = fmaxf(most[e], x);
                    least_of[e] = fminf(least_of[e], x);
                    sums[e] += x;
                }
            }
        }
        __syncthreads();  // an earlier use of the scratch is over
        if (group < kGroups)
#pragma unroll
            for (int e = 0; e < kChunkElements; e++) {
                float* place = scratch + group * kHeadDim + chunk * kChunkElements + e;
                place[0] = most[e];
                place[kGroups * kHeadDim] = least_of[e];
                place[2 * kGroups * kHeadDim] = sums[e];
            }
        __syncthreads();
        if (threadIdx.x < kHeadDim) {
            const float* place = scratch + threadIdx.x;
            float top = place[0], bottom = place[kGroups * kHeadDim], sum = place[2 * kGroups * kHeadDim];
            for (int g = 1; g < kGroups; g++) {
                top = fmaxf(top, place[g * kHeadDim]);
                bottom = fminf(bottom, place[(kGroups + g) * kHeadDim]);
                sum += place[(2 * kGroups + g) * kHeadDim];
            }
            to[threadIdx.x] = top;
            to[kHeadDim + threadIdx.x] = bottom;
            to[2 * kHeadDim + threadIdx.x] = sum / static_cast<float>(count);
        }
        __syncthreads();
    }
};

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal, kGateDim.
template <typename Config, typename Rows, typename Score>
struct GateWeights {
    static constexpr bool kColumns = false, kSlashes = false;
    static constexpr int kHeadDim = Config::kHeadDim, kGateDim = Config::kGateDim, kThreads = 256;
    using Element = typename Config::Element;
    using Product = GateProduct<kGateDim, kThreads>;

    // Rows of gated blocks, as PooledRows sees them.
    struct GateConfig {
        using Element = typename Config::Element;
        static constexpr int kHeadDim = Config::kGateDim;
    };
    using Gated = PooledRows<GateConfig, kThreads>;

    // Where the gated keys of a query head begin.
    static __device__ long long place(const Problem& problem, int b, int h) {
        const long long head = static_cast<long long>(b) * problem.query_heads + h;
        return head * divide_up(problem.key_length, Config::kBlockKey) * kGateDim;
    }

    // One thread block gates one key block for all query heads of a group, one after the other. Every head has weights of its own;
    // the keys are pooled once where the heads see the same rows.
    struct GateKeys {
        static constexpr int kThreads = GateWeights::kThreads;
        static constexpr int kTile = Config::kBlockKey;
        using Pools = PooledExtremes<Config, kThreads>;

        struct Shared {
            union {  // each begins with a barrier, behind which the other's use is over
                float pools[Pools::kSharedFloats];
                float product[Product::kSharedFloats];
            } scratch;
            float pooled[Pools::kPools * kHeadDim];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float* key_gate;  // [query heads, kPools, kHeadDim, kGateDim]
            float* gated_keys;      // [batch, query heads, key blocks, kGateDim]
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), g = static_cast<int>(blockIdx.y), j = static_cast<int>(blockIdx.x);
            const int group = problem.query_heads / problem.key_value_heads, begin = j * kTile;
            int end = 0;
            for (int h = g * group; h < (g + 1) * group; h++) {
                if (Rows::kIndexed || h == g * group) {
                    const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
                    end = least(begin + kTile, rows.key_count);
                    if (begin < end) pool(problem, rows, b, g, begin, end, shared);
                }
                if (begin >= end) continue;  // the head has fewer keys
                const float* weights = arguments.key_gate + static_cast<long long>(h) * Pools::kPools * kHeadDim * kGateDim;
                float* to = arguments.gated_keys + place(problem, b, h) + static_cast<long long>(j) * kGateDim;
                Product::run(shared.pooled, Pools::kPools * kHeadDim, weights, shared.scratch.product, to);
            }
        }

        template <typename HeadRowsOf>
        static __device__ void pool(const Problem& problem, const HeadRowsOf& rows, int b, int g, int begin, int end, Shared& shared) {
            const auto* base = static_cast<const unsigned char*>(problem.key);
            const long long head = problem.key_strides.at(b, g);
            const auto row_of = [&](int i) {
                const long long offset = head + rows.key_position(begin + i) * problem.key_strides.row;
                return base + offset * static_cast<long long>(sizeof(Element));
            };
            Pools::pool(end - begin, row_of, shared.scratch.pools, shared.pooled);
        }
    };

    struct Select {
        static constexpr int kThreads = GateWeights::kThreads;
        static constexpr int kTile = Config::kBlockQuery;
        using Choice = BlockChoice<kThreads>;
        using Means = PooledRows<Config, kThreads>;

        struct Shared {
            union {  // one after the other; each begins with a barrier
                typename Choice::Shared choice;
                float scratch[Means::kSharedFloats];
                float product[Product::kSharedFloats];
            };
            float query[kHeadDim];
            float gate[kGateDim];
            float sums[kThreads / kWarp];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const float* query_gate;  // [query heads, kHeadDim, kGateDim]
            const float* gated_keys;
            float* block_scores;  // [batch, query heads, query blocks, key blocks]
            BlockList block_list;
            int count;
            double threshold;
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
            float* row = arguments.block_scores + BlockScores<Config>::place(problem, b, h, index);
            const auto is_forced = [&](int j) { return j == 0 || block.holds_diagonal(j); };
            const bool ranks = arguments.count > 0;
            bool every = list.dense_heads.has(h);
            if (!every) {
                Means::mean_query(problem, rows, b, h, block.begin, block.end, shared.scratch, shared.query);
                const float* weights = arguments.query_gate + static_cast<long long>(h) * kHeadDim * kGateDim;
                Product::run(shared.query, kHeadDim, weights, shared.product, shared.gate);
                const float highest = Gated::score_row(
                    shared.gate, arguments.gated_keys + place(problem, b, h), block.key_blocks, 1 / sqrtf(kGateDim),
                    [](int) { return true; }, shared.sums, row);
                every = !Gated::is_finite_row(block.key_blocks, shared.sums, row);
                if (!every && ranks) {  // the words of the list hold the choice until they are written whole
                    const auto other = [&](int j) { return is_forced(j) ? -kInfinity : row[j]; };
                    const Cut cut = Choice::highest(shared.choice, block.key_blocks, arguments.count, other);
                    Choice::mark(shared.choice, block.key_blocks, cut, other, visit);
                    __syncthreads();
                } else if (!every) {
                    Gated::softmax_row(highest, block.key_blocks, shared.sums, row);
                }
            }
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                return every || is_forced(j) || (ranks ? has_bit(visit, j) : static_cast<double>(row[j]) >= arguments.threshold);
            });
        }
    };
};

}  // namespace attn
