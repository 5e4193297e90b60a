// Softmax of a sequence's last queries over all keys, summed over those queries: how much attention each token of the
// prefix is paid. Two passes over the keys, because a probability needs the whole row's sum.
//
//   W, w, r        window (kWindow), its valid rows min(W, Lq), one of them
//   S              scores of window_scores.cuh, in base 2
//   n = Lk - W     prefix: the tokens that get a score
//   raw[h][t]      mean over r of softmax(S[h][r])[t]
//
// All sums have a fixed order, so that results repeat to the bit.
#pragma once

#include <attncompose/selection/window_scores.cuh>

namespace attn {

template <int kWindow>
__device__ inline int prefix_length(Sequence sequence) {
    return largest(0, sequence.key_length - kWindow);
}

// Row of a [batch, query heads, ...] buffer.
__device__ inline long long row_of(const Problem& problem, int b, int h) {
    return static_cast<long long>(b) * problem.query_heads + h;
}

// Config: kHeadDim, Element, kWindow. Score: the rules, which change scores before their softmax.
template <typename Config, ScoreHook Score>
struct WindowSoftmax {
    static constexpr int kWindow = Config::kWindow;
    using Window = WindowScores<Config, Score>;

    // For each window row the largest S of one tile of keys and the sum of 2^(S - largest).
    struct RowPartials {
        static constexpr int kThreads = Window::kThreads;
        static constexpr int kTile = Window::kKeyTile;
        static constexpr int kSharedBytes = Window::kSharedBytes;

        struct Arguments {
            float2* row_partials;  // [batch, query heads, key tiles, kWindow]
        };

        static __device__ void run(const Problem& problem, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            const Window window(problem, score, shared);
            if (window.key_begin >= window.sequence.key_length) return;
            window.start_keys();
            const int rows = Window::window_rows(window.sequence);
            const int group = problem.query_heads / problem.key_value_heads;
            for (int h = window.g * group; h < (window.g + 1) * group; h++) {
                float2* to =
                    arguments.row_partials +
                    (row_of(problem, window.b, h) * divide_up(problem.key_length, kTile) + blockIdx.x) * kWindow;
                for (int row_begin = 0; row_begin < rows; row_begin += Window::kRows) {
                    window.load_queries(h, row_begin);
                    float2 partials[2] = {make_float2(-kInfinity, 0), make_float2(-kInfinity, 0)};
#pragma unroll 1
                    for (int column = 0; column < kTile; column += Window::kColumns) {
                        typename Window::Fragment s;
                        window.score(h, row_begin, column, s);
                        add(s, partials);
                    }
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float sum = row_sum(partials[half].y);
                        const int r = window.window_row(row_begin, half);
                        if (lane_id() % 4 == 0 && r < rows) to[r] = make_float2(partials[half].x, sum);
                    }
                }
            }
        }

        // Largest S, the same in the four lanes of a row, and this lane's share of the sum.
        static __device__ void add(const typename Window::Fragment& s, float2 (&partials)[2]) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float highest = partials[half].x;
#pragma unroll
                for (int n = 0; n < Window::kColumns / 8; n++)
                    highest = fmaxf(highest, fmaxf(s[0][n][2 * half], s[0][n][2 * half + 1]));
                highest = row_max(highest);
                const float origin = highest == -kInfinity ? 0 : highest;
                float sum = partials[half].y * ptx::exp2(partials[half].x - origin);
#pragma unroll
                for (int n = 0; n < Window::kColumns / 8; n++)
                    sum += ptx::exp2(s[0][n][2 * half] - origin) + ptx::exp2(s[0][n][2 * half + 1] - origin);
                partials[half] = make_float2(highest, sum);
            }
        }
    };

    // The same over all keys: the tiles' values are merged in order, in kSlices interleaved runs.
    struct RowStats {
        static constexpr int kThreads = 1024;
        static constexpr int kTile = 1;
        static constexpr int kRows = 128, kSlices = kThreads / kRows;
        static constexpr int kSharedBytes = kThreads * static_cast<int>(sizeof(float2));

        struct Arguments {
            const float2* row_partials;
            float2* row_stats;  // [batch, query heads, kWindow]: largest S, and 1 / sum
        };

        static __device__ float2 merge(float2 a, float2 b) {
            const float highest = fmaxf(a.x, b.x);
            const float origin = highest == -kInfinity ? 0 : highest;
            return make_float2(highest, a.y * ptx::exp2(a.x - origin) + b.y * ptx::exp2(b.x - origin));
        }

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            auto* slices = reinterpret_cast<float2*>(shared);  // [kSlices, kRows]
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const Sequence sequence = sequence_of(problem, b);
            const int rows = Window::window_rows(sequence);
            const int tiles = divide_up(sequence.key_length, RowPartials::kTile);
            const float2* from = arguments.row_partials +
                                 row_of(problem, b, h) * divide_up(problem.key_length, RowPartials::kTile) * kWindow;
            const int slice = static_cast<int>(threadIdx.x) / kRows;
            for (int row_begin = 0; row_begin < rows; row_begin += kRows) {
                const int r = row_begin + static_cast<int>(threadIdx.x) % kRows;
                float2 stats = make_float2(-kInfinity, 0);
                if (r < rows)
                    for (int tile = slice; tile < tiles; tile += kSlices)
                        stats = merge(stats, from[static_cast<long long>(tile) * kWindow + r]);
                __syncthreads();
                slices[threadIdx.x] = stats;
                __syncthreads();
                if (slice == 0 && r < rows) {
                    for (int other = 1; other < kSlices; other++)
                        stats = merge(stats, slices[other * kRows + threadIdx.x]);
                    arguments.row_stats[row_of(problem, b, h) * kWindow + r] =
                        make_float2(stats.x == -kInfinity ? 0 : stats.x, stats.y == 0 ? 0 : 1 / stats.y);
                }
            }
        }
    };

    // raw: column sums of the probabilities, in a fixed order: rows of a lane, lanes, warps, passes over the window.
    struct ColumnScores {
        static constexpr int kThreads = Window::kThreads;
        static constexpr int kTile = Window::kKeyTile;
        static constexpr int kSharedBytes =
            Window::kSharedBytes + Window::kWarps * kTile * static_cast<int>(sizeof(float));

        struct Arguments {
            const float2* row_stats;
            float* raw_scores;  // [batch, query heads, key length]; only prefixes are written
        };

        static __device__ void run(const Problem& problem, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            auto* column_sums = reinterpret_cast<float*>(shared + Window::kSharedBytes);  // [kWarps, kTile]
            const Window window(problem, score, shared);
            const int prefix = prefix_length<kWindow>(window.sequence);
            if (window.key_begin >= prefix) return;
            window.start_keys();
            const int rows = Window::window_rows(window.sequence);
            const int group = problem.query_heads / problem.key_value_heads;
            for (int h = window.g * group; h < (window.g + 1) * group; h++) {
                const long long row = row_of(problem, window.b, h);
                add_columns(window, h, rows, arguments.row_stats + row * kWindow, column_sums);
                __syncthreads();
                for (int column = static_cast<int>(threadIdx.x); column < kTile; column += kThreads) {
                    float sum = 0;
                    for (int warp = 0; warp < Window::kWarps; warp++) sum += column_sums[warp * kTile + column];
                    const int t = window.key_begin + column;
                    if (t < prefix)
                        arguments.raw_scores[row * problem.key_length + t] =
                            rows == 0 ? 0 : sum / static_cast<float>(rows);
                }
                __syncthreads();
            }
        }

        // Each warp's share of the column sums of one head.
        static __device__ void add_columns(const Window& window, int h, int rows, const float2* row_stats,
                                           float* column_sums) {
            float* to = column_sums + warp_id() * kTile;  // no other warp's
            for (int column = lane_id(); column < kTile; column += kWarp) to[column] = 0;
            __syncwarp();
            for (int row_begin = 0; row_begin < rows; row_begin += Window::kRows) {
                window.load_queries(h, row_begin);
                float2 stats[2];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int r = window.window_row(row_begin, half);
                    stats[half] = r < rows ? row_stats[r] : make_float2(0, 0);
                }
#pragma unroll 1
                for (int column = 0; column < kTile; column += Window::kColumns) {
                    typename Window::Fragment s;
                    window.score(h, row_begin, column, s);
                    add(s, stats, to + column);
                }
            }
        }

        static __device__ void add(const typename Window::Fragment& s, const float2 (&stats)[2], float* sums) {
#pragma unroll
            for (int n = 0; n < Window::kColumns / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float sum = ptx::exp2(s[0][n][e] - stats[0].x) * stats[0].y +
                                ptx::exp2(s[0][n][2 + e] - stats[1].x) * stats[1].y;
#pragma unroll
                    for (int distance = 4; distance < kWarp; distance *= 2)
                        sum += __shfl_xor_sync(kAllLanes, sum, distance);
                    if (lane_id() < 4) sums[8 * n + 2 * lane_id() + e] += sum;
                }
            }
        }
    };
};

}  // namespace attn
