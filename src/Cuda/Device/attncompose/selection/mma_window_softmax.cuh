// The softmax of window_softmax.cuh by mma.sync, on every chip and for every head dim.
#pragma once

#include <attncompose/selection/mma_window_scores.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow.
template <typename Config>
struct MmaWindowSoftmax {
    static constexpr int kWindow = Config::kWindow;
    using Window = WindowScores<Config>;
    static constexpr int kHeads = largest(1, 1024 / kWindow);  // so many rows' stats have room

    // The partials of a segment grow in memory, tile by tile: a lane owns the rows that it stores.
    struct RowPartials {
        static constexpr int kThreads = Window::kThreads;
        static constexpr int kTile = Window::kKeyTile;
        static constexpr int kSharedBytes = Window::kSharedBytes;
        static constexpr int kSegments = kMostSegments, kHeads = MmaWindowSoftmax::kHeads, kResident = 2;

        struct Arguments {
            float2* row_partials;  // [batch, query heads, kMostSegments, kWindow]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const ScoredHeads<kHeads> heads(problem);
            Window window(problem, heads.g, shared);
            const int rows = window_rows<kWindow>(window.sequence);
            const Segment segment = Segment::of_block<kTile>(window.sequence.key_length);
            for (int tile = segment.begin; tile < segment.end; tile++) {
                window.start_keys(tile);
                for (int h = heads.first; h < heads.first + heads.count; h++) {
                    float2* to = arguments.row_partials + partials_of<kWindow>(problem, window.b, h, blockIdx.x);
                    for (int row_begin = 0; row_begin < rows; row_begin += Window::kRows)
                        add_tile(window, h, row_begin, rows, tile == segment.begin, to);
                }
            }
            if (segment.begin < segment.end) return;
            for (int h = heads.first; h < heads.first + heads.count; h++) {
                float2* to = arguments.row_partials + partials_of<kWindow>(problem, window.b, h, blockIdx.x);
                for (int r = static_cast<int>(threadIdx.x); r < rows; r += kThreads) to[r] = make_float2(-kInfinity, 0);
            }
        }

        static __device__ void add_tile(const Window& window, int h, int row_begin, int rows, bool is_first, float2* to) {
            window.load_queries(h, row_begin);
            float2 partials[2] = {make_float2(-kInfinity, 0), make_float2(-kInfinity, 0)};
#pragma unroll 1
            for (int column = 0; column < kTile; column += Window::kColumns) {
                typename Window::Fragment s;
                window.score(row_begin, column, s);
                add(s, partials);
            }
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float2 partial = make_float2(partials[half].x, row_sum(partials[half].y));
                const int r = window.window_row(row_begin, half);
                if (lane_id() % 4 == 0 && r < rows) to[r] = is_first ? partial : merge_partials(to[r], partial);
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

    // raw: column sums of the probabilities, in a fixed order: rows of a lane, lanes, warps, passes over the window.
    struct ColumnScores {
        static constexpr int kThreads = Window::kThreads;
        static constexpr int kTile = Window::kKeyTile;
        static constexpr int kStatsBytes = kHeads * kWindow * static_cast<int>(sizeof(float2));
        static constexpr int kSharedBytes =
            Window::kSharedBytes + kStatsBytes + Window::kWarps * kTile * static_cast<int>(sizeof(float));
        static constexpr int kSegments = kMostSegments, kHeads = MmaWindowSoftmax::kHeads, kResident = 2;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float2* row_partials;
            float* raw_scores;  // [batch, query heads, key length]; only prefixes are written
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            auto* stats = reinterpret_cast<float2*>(shared + Window::kSharedBytes);             // [kHeads, kWindow]
            auto* column_sums = reinterpret_cast<float*>(shared + Window::kSharedBytes + kStatsBytes);  // [kWarps, kTile]
            wait_for_earlier_kernels();
            const ScoredHeads<kHeads> heads(problem);
            Window window(problem, heads.g, shared);
            const int prefix = prefix_length<kWindow>(window.sequence), rows = window_rows<kWindow>(window.sequence);
            const Segment segment = Segment::of_block<kTile>(prefix);
            if (segment.begin == segment.end) return;
            for (int i = static_cast<int>(threadIdx.x); i < heads.count * kWindow; i += kThreads) {
                const int r = i % kWindow;
                if (r >= rows) continue;
                const float2 row =
                    whole_row<kWindow>(problem, arguments.row_partials, window.b, heads.first + i / kWindow, r);
                stats[i] = make_float2(row.x, row.y == 0 ? 0 : 1 / row.y);
            }
            for (int tile = segment.begin; tile < segment.end; tile++) {
                window.start_keys(tile);
                for (int i = 0; i < heads.count; i++) {
                    add_columns(window, heads.first + i, rows, stats + i * kWindow, column_sums);
                    __syncthreads();
                    float* raw = arguments.raw_scores + row_of(problem, window.b, heads.first + i) * problem.key_length;
                    for (int column = static_cast<int>(threadIdx.x); column < kTile; column += kThreads) {
                        float sum = 0;
                        for (int warp = 0; warp < Window::kWarps; warp++) sum += column_sums[warp * kTile + column];
                        const int t = window.key_begin + column;
                        if (t < prefix) raw[t] = rows == 0 ? 0 : sum / static_cast<float>(rows);
                    }
                    __syncthreads();
                }
            }
        }

        // Each warp's share of the column sums of one head.
        static __device__ void add_columns(const Window& window, int h, int rows, const float2* stats_of_rows,
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
                    stats[half] = r < rows ? stats_of_rows[r] : make_float2(0, 0);
                }
#pragma unroll 1
                for (int column = 0; column < kTile; column += Window::kColumns) {
                    typename Window::Fragment s;
                    window.score(row_begin, column, s);
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
