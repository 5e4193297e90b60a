// Token score of H2O (arXiv 2306.14048): the attention that all queries pay to each token, summed.
//
//   part    kRows queries at the end of a sequence that is cut off behind them: parts are counted from the sequence's end, so
//           that all but the first one are whole
//   raw     raw[h][t]: sum over all queries of softmax(S[h][i])[t], each query over the keys up to its own position
//
// Scores are those of mma_window_scores.cuh, with the part for the window. All sums have a fixed order.
#pragma once

#include <attncompose/selection/mma_window_softmax.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow. Score: the pipeline's rules.
template <typename Config, ScoreHook Score>
struct Accumulated {
    // As many queries as a block scores in one pass.
    struct Part : Config {
        static constexpr int kWindow = kPaddedDim<Config::kHeadDim> <= 128 ? 128 : 64;
    };
    using Window = WindowScores<Part, Score>;
    using Softmax = MmaWindowSoftmax<Part, Score>;
    static constexpr int kRows = Window::kRows;
    static_assert(kRows == Part::kWindow);

    // The sequence cut off behind its part `index`, counted from the end; without a query where there is no such part.
    static __device__ Sequence cut(Sequence whole, int index) {
        const int queries = largest(0, whole.query_length - index * kRows);
        return {queries, whole.first_query() + queries};
    }

    // Where the stats of a part's rows begin.
    static __device__ long long stats_of(const Problem& problem, int b, int h, Sequence part) {
        return row_of(problem, b, h) * problem.query_length + part.query_length - window_rows<kRows>(part);
    }

    // A query's softmax: (o, 1 / sum of 2^(S - o)), (0, 0) where it sees no key.
    struct RowStats {
        static constexpr int kThreads = Window::kThreads, kTile = kRows, kSharedBytes = Window::kSharedBytes;

        struct Arguments {
            float2* row_stats;  // [batch, query heads, query length]
        };

        static __device__ void run(const Problem& problem, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            const int h = static_cast<int>(blockIdx.y);
            Window window(problem, score, problem.key_value_head(h), shared);
            window.sequence = cut(window.sequence, static_cast<int>(blockIdx.x));
            const int rows = window_rows<kRows>(window.sequence);
            if (rows == 0) return;
            float2 partials[2] = {make_float2(-kInfinity, 0), make_float2(-kInfinity, 0)};
            const int tiles = divide_up(largest(window.sequence.key_length, 0), Window::kKeyTile);
            for (int tile = 0; tile < tiles; tile++) {
                window.start_keys(tile);
                if (tile == 0) {
                    window.load_queries(h, 0);
                } else {
                    ptx::wait_for_copies<0>();
                    __syncthreads();
                }
#pragma unroll 1
                for (int column = 0; column < Window::kKeyTile; column += Window::kColumns) {
                    typename Window::Fragment s;
                    window.score(h, 0, column, s);
                    Softmax::RowPartials::add(s, partials);
                }
            }
            float2* to = arguments.row_stats + stats_of(problem, window.b, h, window.sequence);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float sum = row_sum(partials[half].y);
                const int r = window.window_row(0, half);
                if (lane_id() % 4 == 0 && r < rows)
                    to[r] = sum == 0 ? make_float2(0, 0) : make_float2(partials[half].x, 1 / sum);
            }
        }
    };

    // raw, in a fixed order: rows of a lane, lanes, parts from the last to the first, warps.
    struct ColumnSums {
        static constexpr int kThreads = Window::kThreads, kTile = Window::kKeyTile;
        static constexpr int kSharedBytes =
            Window::kSharedBytes + Window::kWarps * kTile * static_cast<int>(sizeof(float));

        struct Arguments {
            const float2* row_stats;
            float* raw_scores;  // [batch, query heads, key length]; only prefixes are written
        };

        static __device__ void run(const Problem& problem, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            auto* column_sums = reinterpret_cast<float*>(shared + Window::kSharedBytes);  // [kWarps, kTile]
            const int h = static_cast<int>(blockIdx.y);
            Window window(problem, score, problem.key_value_head(h), shared);
            const Sequence whole = window.sequence;
            const int prefix = prefix_length<Config::kWindow>(whole);
            if (static_cast<int>(blockIdx.x) * kTile >= prefix) return;
            window.start_keys(static_cast<int>(blockIdx.x));
            float* sums = column_sums + warp_id() * kTile;  // no other warp's
            for (int column = lane_id(); column < kTile; column += kWarp) sums[column] = 0;
            __syncwarp();
            // Parts that end before the tile see none of it. The keys are in place when the first queries are.
            for (int part = 0;; part++) {
                window.sequence = cut(whole, part);
                const int rows = window_rows<kRows>(window.sequence);
                if (rows == 0 || window.sequence.key_length <= window.key_begin) break;
                window.load_queries(h, 0);
                const float2* from = arguments.row_stats + stats_of(problem, window.b, h, window.sequence);
                float2 stats[2];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int r = window.window_row(0, half);
                    stats[half] = r < rows ? from[r] : make_float2(0, 0);
                }
#pragma unroll 1
                for (int column = 0; column < kTile; column += Window::kColumns) {
                    typename Window::Fragment s;
                    window.score(h, 0, column, s);
                    Softmax::ColumnScores::add(s, stats, sums + column);
                }
            }
            ptx::wait_for_copies<0>();  // where there was no query
            __syncthreads();
            float* raw = arguments.raw_scores + row_of(problem, window.b, h) * problem.key_length;
            for (int column = static_cast<int>(threadIdx.x); column < kTile; column += kThreads) {
                float sum = 0;
                for (int warp = 0; warp < Window::kWarps; warp++) sum += column_sums[warp * kTile + column];
                const int t = window.key_begin + column;
                if (t < prefix) raw[t] = sum;
            }
        }
    };
};

}  // namespace attn
