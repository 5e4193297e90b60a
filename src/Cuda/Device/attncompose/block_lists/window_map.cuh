// The attention map of a head's last queries, summed along its columns and along its diagonals: what block selectors rank by.
//
//   W, w, r       window (kWindow), its valid rows min(W, queries), one of them; a row is one of the queries that take part
//   d_r           own key of row r: keys - w + r
//   P[r][j]       softmax of row r over the keys j <= d_r
//   columns[j]    mean over r of P[r][j]
//   slashes[o]    mean over r of P[r][d_r - o]
//
// Two passes over the keys, because a probability needs the whole row's sum. A tile of T keys meets w + T - 1 diagonals; it
// writes its share of each, and slash() adds the shares of the tiles that one diagonal crosses. A warp sums the strips of 16
// rows that it walks (window_walk.cuh) by itself; then the strips are added. All sums have a fixed order.
#pragma once

#include <attncompose/block_lists/window_walk.cuh>

namespace attn {

// Config: kHeadDim, Element. Rows and Score are the hooks of the attention loop.
template <typename Config, int kWindowRows, typename Rows, typename Score>
struct WindowMap {
    using Walk = WindowWalk<Config, kWindowRows, Rows, Score>;
    using Job = typename Walk::Job;
    using Operands = typename Walk::Operands;
    using Fragment = typename Walk::Fragment;
    using HeadRowsOf = typename Walk::HeadRowsOf;
    static constexpr int kWindow = kWindowRows, kWarps = Walk::kWarps, kThreads = Walk::kThreads;
    static constexpr int kStripRows = Walk::kStripRows, kStrips = Walk::kStrips;
    static constexpr int kKeyTile = Walk::kKeyTile, kColumns = Walk::kColumns, kTileBytes = Walk::kTileBytes;
    static constexpr int kDiagonals = 128 + kKeyTile;  // that a tile of the longest window meets, and one to spare

    // Blocks of a key/value head share out its pieces, as many as run at once: at most these, of which a multiprocessor has registers
    // for so many, with 128 a thread.
    static constexpr int kMostShares = 1024, kMostResident = 512 / kThreads;

    static __device__ int window_rows(const HeadRowsOf& rows) { return Walk::window_rows(rows); }

    static __device__ long long head_of(const Problem& problem, int b, int h) {
        return static_cast<long long>(b) * problem.query_heads + h;
    }

    static __device__ int tiles_of(const Problem& problem) { return divide_up(problem.key_length, kKeyTile); }

    // For each window row the largest score of one tile of keys, and the sum of 2^(score - largest).
    struct RowPartials {
        static constexpr int kThreads = WindowMap::kThreads;
        static constexpr int kTile = kKeyTile;
        static constexpr int kSharedBytes = kTileBytes;
        static constexpr int kSegments = kMostShares, kHeads = 0, kResident = least(kMostResident, 224 * 1024 / kSharedBytes);

        struct Arguments {
            float2* row_partials;  // [batch, query heads, key tiles, kWindow]
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            const Walk walk(problem, source, score, shared);
            walk.for_each_job([&](const Job& job, const Operands& operands) {
                float2 partials[2] = {make_float2(-kInfinity, 0), make_float2(-kInfinity, 0)};
#pragma unroll 1
                for (int column = 0; column < kKeyTile; column += kColumns) {
                    Fragment s;
                    walk.scores(job, operands, column, s);
                    add(s, partials);
                }
                const long long tile = head_of(problem, walk.b, job.h) * tiles_of(problem) + job.tile;
                float2* to = arguments.row_partials + tile * kWindow;
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const float sum = row_sum(partials[half].y);
                    const int r = job.row(half);
                    if (lane_id() % 4 == 0 && r < window_rows(job.rows)) to[r] = make_float2(partials[half].x, sum);
                }
            });
        }

        // Largest score, the same in the four lanes of a row, and this lane's share of the sum.
        static __device__ void add(const Fragment& s, float2 (&partials)[2]) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float highest = partials[half].x;
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++)
                    highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
                highest = row_max(highest);
                const float origin = highest == -kInfinity ? 0 : highest;
                float sum = partials[half].y * ptx::exp2(partials[half].x - origin);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++)
                    sum += ptx::exp2(s[n][2 * half] - origin) + ptx::exp2(s[n][2 * half + 1] - origin);
                partials[half] = make_float2(highest, sum);
            }
        }
    };

    // The same over all keys: the tiles' values are merged in order, in kSlices interleaved runs.
    struct RowStats {
        static constexpr int kThreads = 1024;
        static constexpr int kTile = 1;
        static constexpr int kSliceRows = 128, kSlices = kThreads / kSliceRows;
        static constexpr int kSharedBytes = kThreads * static_cast<int>(sizeof(float2));

        struct Arguments {
            const float2* row_partials;
            float2* row_stats;  // [batch, query heads, kWindow]: largest score, and 1 / (sum * w)
        };

        static __device__ float2 merge(float2 a, float2 b) {
            const float highest = fmaxf(a.x, b.x);
            const float origin = highest == -kInfinity ? 0 : highest;
            return make_float2(highest, a.y * ptx::exp2(a.x - origin) + b.y * ptx::exp2(b.x - origin));
        }

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared) {
            auto* slices = reinterpret_cast<float2*>(shared);  // [kSlices, kSliceRows]
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const HeadRowsOf rows = source.rows(problem, sequence_of(problem, b), b, h);
            const int window = window_rows(rows), tiles = divide_up(rows.key_count, kKeyTile);
            const float2* from = arguments.row_partials + head_of(problem, b, h) * tiles_of(problem) * kWindow;
            const int slice = static_cast<int>(threadIdx.x) / kSliceRows, r = static_cast<int>(threadIdx.x) % kSliceRows;
            float2 stats = make_float2(-kInfinity, 0);
            if (r < window)
                for (int tile = slice; tile < tiles; tile += kSlices)
                    stats = merge(stats, from[static_cast<long long>(tile) * kWindow + r]);
            slices[threadIdx.x] = stats;
            __syncthreads();
            if (slice != 0 || r >= window) return;
            for (int other = 1; other < kSlices; other++) stats = merge(stats, slices[other * kSliceRows + r]);
            const float factor = stats.y == 0 ? 0 : 1 / (stats.y * static_cast<float>(window));
            arguments.row_stats[head_of(problem, b, h) * kWindow + r] =
                make_float2(stats.x == -kInfinity ? 0 : stats.x, factor);
        }
    };

    // columns, and each tile's share of the slashes.
    struct Sums {
        static constexpr int kThreads = WindowMap::kThreads;
        static constexpr int kTile = kKeyTile;
        static constexpr int kStride = 40;  // of a slab of probabilities: pairs are stored to different banks
        static constexpr int kStripDiagonals = kStripRows + kKeyTile;  // that a strip meets, and one to spare

        struct Slabs {
            float slab[kWarps][kStripRows * kStride];
            float columns[kStrips][kKeyTile];
            float diagonals[kStrips][kStripDiagonals];  // row of the strip - column of the tile + kKeyTile - 1
        };
        static constexpr int kSharedBytes = kTileBytes + static_cast<int>(sizeof(Slabs));
        static_assert(kSharedBytes <= 99 * 1024);
        static constexpr int kSegments = kMostShares, kHeads = 0, kResident = least(kMostResident, 224 * 1024 / kSharedBytes);

        struct Arguments {
            const float2* row_stats;
            float* columns;    // [batch, query heads, key length]
            float* diagonals;  // [batch, query heads, key tiles, kDiagonals]: r - c + kKeyTile - 1, c the column of the tile
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            auto& slabs = *reinterpret_cast<Slabs*>(shared + kTileBytes);
            const Walk walk(problem, source, score, shared);
            walk.for_each_job([&](const Job& job, const Operands& operands) {
                const int window = window_rows(job.rows);
                const long long head = head_of(problem, walk.b, job.h);
                float2 stats[2];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int r = job.row(half);
                    stats[half] = r < window ? arguments.row_stats[head * kWindow + r] : make_float2(0, 0);
                }
                float* slab = slabs.slab[warp_id()];
                float* diagonals = slabs.diagonals[job.strip()];
                for (int i = lane_id(); i < kStripDiagonals; i += kWarp) diagonals[i] = 0;
#pragma unroll 1
                for (int column = 0; column < kKeyTile; column += kColumns) {
                    Fragment s;
                    walk.scores(job, operands, column, s);
                    store(s, stats, slab);
                    __syncwarp();
                    slabs.columns[job.strip()][column + lane_id()] = column_sum(slab);
                    add_diagonals(slab, diagonals + kKeyTile - 1 - column);
                    __syncwarp();
                }
                if (!job.is_last_of_piece()) return;
                __syncthreads();
                const int strips = divide_up(window, kStripRows);
                float* to = arguments.columns + head * problem.key_length + job.key_begin();
                for (int c = static_cast<int>(threadIdx.x); c < kKeyTile; c += kThreads)
                    if (job.key_begin() + c < job.rows.key_count) to[c] = column_of(slabs, strips, c);
                to = arguments.diagonals + (head * tiles_of(problem) + job.tile) * kDiagonals;
                for (int i = static_cast<int>(threadIdx.x); i < kDiagonals; i += kThreads) to[i] = diagonal_of(slabs, strips, i);
            });
        }

        static __device__ void store(const Fragment& s, const float2 (&stats)[2], float* slab) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float* row = slab + (8 * half + lane_id() / 4) * kStride + 2 * (lane_id() % 4);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++) {
                    const float2 p = make_float2(ptx::exp2(s[n][2 * half] - stats[half].x) * stats[half].y,
                                                 ptx::exp2(s[n][2 * half + 1] - stats[half].x) * stats[half].y);
                    *reinterpret_cast<float2*>(row + 8 * n) = p;
                }
            }
        }

        // A lane owns a column of the slab,
        static_assert(kColumns == kWarp);
        static __device__ float column_sum(const float* slab) {
            float sum = 0;
#pragma unroll
            for (int row = 0; row < kStripRows; row++) sum += slab[row * kStride + lane_id()];
            return sum;
        }

        // and the diagonals (row less column) lane - 31, where columns end at the diagonal, and lane + 1, where they begin there.
        static __device__ void add_diagonals(const float* slab, float* diagonals) {
            const int lane = ptx::recomputed(lane_id());
            float lower = 0, upper = 0;
#pragma unroll 8
            for (int row = 0; row < kStripRows; row++) {
                const int lower_column = row - (lane - (kColumns - 1)), upper_column = row - (lane + 1);
                if (lower_column < kColumns) lower += slab[row * kStride + lower_column];
                if (upper_column >= 0) upper += slab[row * kStride + upper_column];
            }
            diagonals[lane - (kColumns - 1)] += lower;
            if (lane + 1 < kStripRows) diagonals[lane + 1] += upper;
        }

        static __device__ float column_of(const Slabs& slabs, int strips, int column) {
            float sum = 0;
#pragma unroll
            for (int strip = 0; strip < kStrips; strip++)
                if (strip < strips) sum += slabs.columns[strip][column];
            return sum;
        }
        static __device__ float diagonal_of(const Slabs& slabs, int strips, int place) {
            float sum = 0;
#pragma unroll
            for (int strip = 0; strip < kStrips; strip++) {
                const int i = place - strip * kStripRows;
                if (strip < strips && i >= 0 && i < kStripDiagonals) sum += slabs.diagonals[strip][i];
            }
            return sum;
        }
    };

    // slashes[o] of a head, from the shares of the tiles that it crosses, all of which are on their way at once.
    static __device__ float slash(const float* head_diagonals, int key_count, int window, int o) {
        constexpr int kShares = divide_up(kWindow + kKeyTile - 1, kKeyTile);
        // Place of the diagonal in tile t: `place` + t kKeyTile, in [0, window + kKeyTile - 1).
        const int place = o - key_count + window + kKeyTile - 1;
        const int first = place >= 0 ? 0 : divide_up(-place, kKeyTile);
        float shares[kShares];
#pragma unroll
        for (int i = 0; i < kShares; i++) {
            const int begin = (first + i) * kKeyTile;
            const bool crosses = begin < key_count && place + begin < window + kKeyTile - 1;
            shares[i] = crosses ? head_diagonals[static_cast<long long>(first + i) * kDiagonals + place + begin] : 0;
        }
        float sum = 0;
#pragma unroll
        for (int i = 0; i < kShares; i++) sum += shares[i];
        return sum;
    }

    // slashes[o] as an array of them is read.
    struct Slashes {
        const float* head_diagonals;
        int key_count, window, first;

        __device__ float operator[](int i) const { return slash(head_diagonals, key_count, window, first + i); }
        __device__ Slashes operator+(int begin) const { return {head_diagonals, key_count, window, first + begin}; }
    };
};

}  // namespace attn
