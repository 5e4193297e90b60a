// Blocks of queries and keys by their means, and the attention map between the means.
//
//   mean(Q_i), mean(K_j)   mean row of a block, over the rows that take part
//   map[i][j]              softmax over j of scale mean(Q_i) . mean(K_j); rules do not apply to means
//
// All sums have a fixed order.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/selection/block_reduce.cuh>
#include <attncompose/selection/score_order.cuh>

namespace attn {

// Config: kHeadDim, Element.
template <typename Config, int kThreads>
struct PooledRows {
    using Element = typename Config::Element;
    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kChunks = kHeadDim / kChunkElements;
    static constexpr int kGroups = kThreads / kChunks;  // groups of threads, each with rows of its own
    static_assert(kGroups >= 1 && kThreads >= kHeadDim);
    static constexpr int kSharedFloats = kGroups * kHeadDim;  // scratch of mean()

    // Mean of `count` rows, at least one; row_of(i) is where row i begins in global memory. All threads call it; `to` may be
    // shared or global.
    template <typename RowOf>
    static __device__ void mean(int count, RowOf row_of, float* scratch, float* to) {
        const int chunk = static_cast<int>(threadIdx.x) % kChunks, group = static_cast<int>(threadIdx.x) / kChunks;
        float sums[kChunkElements] = {};
        if (group < kGroups) {
            for (int i = group; i < count; i += kGroups) {
                const Chunk c = *(reinterpret_cast<const Chunk*>(row_of(i)) + chunk);
#pragma unroll
                for (int e = 0; e < kChunkElements; e++)
                    sums[e] += ptx::to_float<Element>(c.words[e / 2] >> (e % 2 * 16));
            }
        }
        __syncthreads();  // an earlier use of the scratch is over
        if (group < kGroups)
#pragma unroll
            for (int e = 0; e < kChunkElements; e++) scratch[group * kHeadDim + chunk * kChunkElements + e] = sums[e];
        __syncthreads();
        if (threadIdx.x < kHeadDim) {
            float sum = 0;
            for (int g = 0; g < kGroups; g++) sum += scratch[g * kHeadDim + threadIdx.x];
            to[threadIdx.x] = sum / static_cast<float>(count);
        }
        __syncthreads();
    }

    // Mean of the queries [begin, end) that take part.
    template <typename HeadRowsOf>
    static __device__ void mean_query(const Problem& problem, const HeadRowsOf& rows, int b, int h, int begin, int end,
                                      float* scratch, float* to) {
        const auto* base = static_cast<const unsigned char*>(problem.query);
        const long long head = problem.query_strides.at(b, h);
        const auto row_of = [&](int i) {
            const long long offset = head + rows.query_row(begin + i) * problem.query_strides.row;
            return base + offset * static_cast<long long>(sizeof(Element));
        };
        mean(end - begin, row_of, scratch, to);
    }

    template <typename HeadRowsOf>
    static __device__ void mean_key(const Problem& problem, const HeadRowsOf& rows, int b, int g, int begin, int end,
                                    float* scratch, float* to) {
        const auto* base = static_cast<const unsigned char*>(problem.key);
        const long long head = problem.key_strides.at(b, g);
        const auto row_of = [&](int i) {
            const long long offset = head + rows.key_position(begin + i) * problem.key_strides.row;
            return base + offset * static_cast<long long>(sizeof(Element));
        };
        mean(end - begin, row_of, scratch, to);
    }

    // A row of scores between means in base 2: row[j] = scale query . keys[j] for j < count where counts(j), -inf elsewhere.
    // Returns the largest. `query` is shared, [kHeadDim]; `keys` and `row` are global. `scratch` holds a float for each warp.
    template <typename Counts>
    static __device__ float score_row(const float* query, const float* keys, int count, float scale, Counts counts,
                                      float* scratch, float* row) {
        constexpr int kPerLane = divide_up(kHeadDim, kWarp);
        float q[kPerLane];
#pragma unroll
        for (int i = 0; i < kPerLane; i++) {
            const int d = i * kWarp + lane_id();
            q[i] = d < kHeadDim ? query[d] * (scale * kLog2E) : 0;
        }
        constexpr int kAtOnce = 4;  // keys of a warp under way
        float highest = -kInfinity;
        for (int first = warp_id() * kAtOnce; first < count; first += kThreads / kWarp * kAtOnce) {
            float sums[kAtOnce] = {};
#pragma unroll
            for (int n = 0; n < kAtOnce; n++) {
                const float* key = keys + static_cast<long long>(least(first + n, count - 1)) * kHeadDim;
#pragma unroll
                for (int i = 0; i < kPerLane; i++) {
                    const int d = i * kWarp + lane_id();
                    if (kHeadDim % kWarp == 0 || d < kHeadDim) sums[n] += q[i] * key[d];
                }
            }
#pragma unroll
            for (int n = 0; n < kAtOnce; n++) {
                const int j = first + n;
                const float sum = warp_reduce(sums[n], Sum{});
                if (j >= count) break;
                const float score = counts(j) ? sum : -kInfinity;
                if (lane_id() == 0) row[j] = score;
                highest = fmaxf(highest, score);
            }
        }
        return block_reduce<kThreads>(highest, scratch, [](float a, float b) { return fmaxf(a, b); });
    }

    // Softmax of such a row in place, given its largest element.
    static __device__ void softmax_row(float highest, int count, float* scratch, float* row) {
        float total = 0;
        for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads) {
            row[j] = ptx::exp2(row[j] - highest);
            total += row[j];
        }
        total = block_reduce<kThreads>(total, scratch, Sum{});
        for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads) row[j] /= total;
        __syncthreads();
    }

    // A row of the map: softmax of scale query . keys[j] over j < count.
    static __device__ void map_row(const float* query, const float* keys, int count, float scale, float* scratch,
                                   float* row) {
        const float highest = score_row(query, keys, count, scale, [](int) { return true; }, scratch, row);
        softmax_row(highest, count, scratch, row);
    }

    // Whether every element of a row is a number, the same for all threads.
    static __device__ bool is_finite_row(int count, float* scratch, const float* row) {
        unsigned finite = 1;
        for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads) finite &= is_finite(row[j]);
        return block_reduce<kThreads>(finite, reinterpret_cast<unsigned*>(scratch),
                                      [](unsigned a, unsigned b) { return a & b; }) != 0;
    }
};

// Means of the key blocks of every head. Config: kBlockKey.
template <typename Config, typename Rows, typename Score>
struct PooledKeys {
    static constexpr int kThreads = 256;
    static constexpr int kTile = Config::kBlockKey;
    using Means = PooledRows<Config, kThreads>;
    static constexpr int kSharedBytes = Means::kSharedFloats * static_cast<int>(sizeof(float));

    struct Arguments {
        float* pooled_keys;  // [batch, query heads, key blocks, kHeadDim]; heads that see the same rows use their group's first
    };

    // The means that a query head reads.
    static __device__ long long place(const Problem& problem, int b, int h) {
        const int group = problem.query_heads / problem.key_value_heads;
        const int head = Rows::kIndexed ? h : h / group * group;
        const long long blocks = divide_up(problem.key_length, kTile);
        return (static_cast<long long>(b) * problem.query_heads + head) * blocks * Config::kHeadDim;
    }

    using HeadRowsOf = HeadRows<Rows::kIndexed>;

    // visit(b, g, h, j, begin, end, rows) for each query head whose means this block computes: of the keys [begin, end), key
    // block j.
    template <typename Visit>
    static __device__ void for_each_block(const Problem& problem, const Rows& source, Visit visit) {
        const int b = static_cast<int>(blockIdx.z), g = static_cast<int>(blockIdx.y), j = static_cast<int>(blockIdx.x);
        const int group = problem.query_heads / problem.key_value_heads;
        for (int h = g * group; h < (Rows::kIndexed ? (g + 1) * group : g * group + 1); h++) {
            const HeadRowsOf rows = source.rows(problem, sequence_of(problem, b), b, h);
            const int begin = j * kTile, end = least(begin + kTile, rows.key_count);
            if (begin < end) visit(b, g, h, j, begin, end, rows);
        }
    }

    static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                               unsigned char* shared) {
        for_each_block(problem, source, [&](int b, int g, int h, int j, int begin, int end, const HeadRowsOf& rows) {
            float* to = arguments.pooled_keys + place(problem, b, h) + static_cast<long long>(j) * Config::kHeadDim;
            Means::mean_key(problem, rows, b, g, begin, end, reinterpret_cast<float*>(shared), to);
        });
    }
};

}  // namespace attn
