// The attention map of a head's last queries, summed along its columns and along its diagonals: what block selectors rank by.
//
//   W, w, r       window (kWindow), its valid rows min(W, queries), one of them; a row is one of the queries that take part
//   d_r           own key of row r: keys - w + r
//   P[r][j]       softmax of row r over the keys j <= d_r
//   columns[j]    mean over r of P[r][j]
//   slashes[o]    mean over r of P[r][d_r - o]
//
// Two passes over the keys, because a probability needs the whole row's sum. A tile of T keys meets w + T - 1 diagonals; it
// writes its share of each, and slash() adds the shares of the tiles that one diagonal crosses. All sums have a fixed order.
//
//   strip         16 rows of the window, a warp's at a time: it copies them, keeps them as operands in registers, so that those
//                 of the next head can be on their way, and sums its part of a tile by itself. Warps only meet where they share
//                 keys, and where a head's strips are added.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/selection/block_reduce.cuh>

namespace attn {

// Config: kHeadDim, Element. Rows and Score are the hooks of the attention loop.
template <typename Config, int kWindowRows, typename Rows, typename Score>
struct WindowMap {
    using Element = typename Config::Element;
    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kDim = kPaddedDim<kHeadDim>;
    static constexpr int kWindow = kWindowRows;
    static_assert(kWindow >= 1 && kWindow <= 128);

    // Each warp has 16 rows; as many warps as the window has work for, and as the 99 KB of shared memory that every chip from
    // sm_80 has allow.
    static constexpr int kWarps = least(divide_up(kWindow, 16), kDim <= 128 ? 8 : 4);
    static constexpr int kRows = kWarps * 16;
    static constexpr int kThreads = kWarps * kWarp;
    static constexpr int kKeyTile = kDim <= 128 ? 128 : 64;
    static constexpr int kDiagonals = 128 + kKeyTile;  // that a tile of the longest window meets, and one to spare

    static constexpr int kStripRows = 16, kStrips = divide_up(kWindow, kRows) * kWarps;
    static constexpr int kColumns = 32;  // keys that are multiplied at a time

    using QueryTile = Tile<kRows, kDim>;
    using StripTile = Tile<kStripRows, kDim>;
    using KeyTile = Tile<kKeyTile, kDim>;
    using Operands = unsigned[kDim / 16][4];  // of a strip
    static constexpr int kTileBytes = QueryTile::kBytes + KeyTile::kBytes;
    using Fragment = float[kColumns / 8][4];
    using HeadRowsOf = HeadRows<Rows::kIndexed>;

    static __device__ int window_rows(const HeadRowsOf& rows) { return least(kWindow, rows.query_count); }

    static __device__ long long head_of(const Problem& problem, int b, int h) {
        return static_cast<long long>(b) * problem.query_heads + h;
    }

    static __device__ int tiles_of(const Problem& problem) { return divide_up(problem.key_length, kKeyTile); }

    // Rows [row_begin, row_begin + kRows) of the window of a head, a strip for each warp, against a tile of keys.
    struct Job {
        int h;  // below 0: there is none
        int row_begin;
        HeadRowsOf rows;

        __device__ bool exists() const { return h >= 0; }
        __device__ bool is_last_of_head() const { return row_begin + kRows >= window_rows(rows); }
        __device__ int strip() const { return row_begin / kStripRows + warp_id(); }
        // Row of the window that this lane has in its strip, of two that are 8 apart.
        __device__ int row(int half) const { return strip() * kStripRows + 8 * half + lane_id() / 4; }
    };

    // One tile of keys against the window rows of the query heads that share it.
    struct Walk {
        const Problem& problem;
        const Rows& source;
        const Score& score;
        int b, g, key_begin;
        unsigned shared;

        __device__ Walk(const Problem& problem, const Rows& source, const Score& score, unsigned char* shared)
            : problem(problem),
              source(source),
              score(score),
              b(static_cast<int>(blockIdx.z)),
              g(static_cast<int>(blockIdx.y)),
              key_begin(static_cast<int>(blockIdx.x) * kKeyTile),
              shared(ptx::shared_address(shared)) {}

        __device__ StripTile query_tile() const {
            return {shared + static_cast<unsigned>(warp_id() * kStripRows * StripTile::kRowBytes)};
        }
        __device__ KeyTile key_tile() const { return {shared + QueryTile::kBytes}; }

        // visit(job, operands) for the jobs of each head that has a key in the tile and a query. All threads have met before
        // each.
        template <typename Visit>
        __device__ void for_each_job(Visit visit) const {
            Job job = job_from(g * (problem.query_heads / problem.key_value_heads));
            if (!job.exists()) return;
            load_keys(job.rows);
            load_queries(job);
            while (true) {
                ptx::wait_for_copies<0>();
                __syncthreads();
                Operands operands;
                load_operands(operands);
                const Job next = after(job);
                if (next.exists()) load_queries(next);  // on their way while these are visited
                visit(job, operands);
                if (!next.exists()) return;
                if (Rows::kIndexed && next.h != job.h) {  // heads that choose for themselves have keys of their own
                    __syncthreads();
                    load_keys(next.rows);
                }
                job = next;
            }
        }

        __device__ Job job_from(int h) const {
            const int end = (g + 1) * (problem.query_heads / problem.key_value_heads);
            const Sequence sequence = sequence_of(problem, b);
            for (; h < end; h++) {
                const HeadRowsOf rows = source.rows(problem, sequence, b, h);
                if (key_begin < rows.key_count && rows.query_count > 0) return {h, 0, rows};
            }
            return {-1, 0, {}};
        }
        __device__ Job after(const Job& job) const {
            return job.is_last_of_head() ? job_from(job.h + 1) : Job{job.h, job.row_begin + kRows, job.rows};
        }

        __device__ void load_keys(const HeadRowsOf& rows) const {
            const auto* base = static_cast<const unsigned char*>(problem.key);
            const long long head = problem.key_strides.at(b, g);
            key_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
                const int j = key_begin + row;
                if (j >= rows.key_count) return nullptr;
                const long long offset = head + rows.key_position(j) * problem.key_strides.row;
                return base + offset * static_cast<long long>(sizeof(Element));
            });
            ptx::commit_copies();
        }

        // The strip of this warp.
        __device__ void load_queries(const Job& job) const {
            const int window = window_rows(job.rows), row_begin = job.strip() * kStripRows;
            const auto* base = static_cast<const unsigned char*>(problem.query);
            const long long head = problem.query_strides.at(b, job.h);
            const auto row_of = [&](int row) -> const unsigned char* {
                const int r = row_begin + row;
                if (r >= window) return nullptr;
                const int i = job.rows.query_row(job.rows.query_count - window + r);
                return base + (head + i * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
            };
            query_tile().template load_async<kHeadDim, kWarp>(base, row_of, lane_id());
            ptx::commit_copies();
        }

        // Behind this the strip's tile is free.
        __device__ void load_operands(Operands& operands) const {
            const auto lane = query_tile().a_operands(0);
#pragma unroll
            for (int step = 0; step < kDim / 16; step++) ptx::load_matrices(operands[step], lane.address(0, step));
            __syncwarp();
        }

        // Scores in base 2 of a strip against the tile's keys [column_begin, column_begin + kColumns); -inf where a row does
        // not see a key.
        __device__ void scores(const Job& job, const Operands& operands, int column_begin, Fragment& s) const {
            using Columns = attn::Tile<kColumns, kDim>;
            const Columns columns{key_tile().base + static_cast<unsigned>(column_begin * KeyTile::kRowBytes)};
            const auto lane = columns.transposed_b_operands();
#pragma unroll
            for (int n = 0; n < kColumns / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[n][e] = 0;
#pragma unroll
            for (int step = 0; step < kDim / 16; step++) {
#pragma unroll
                for (int n = 0; n < kColumns / 8; n += 2) {
                    unsigned right[4];
                    ptx::load_matrices(right, lane.address(8 * n, step));
                    ptx::multiply_add<Element>(s[n], operands[step], right[0], right[1]);
                    ptx::multiply_add<Element>(s[n + 1], operands[step], right[2], right[3]);
                }
            }
            const HeadRowsOf& rows = job.rows;
            const int window = window_rows(rows);
            const float factor = problem.scale * (Score::kIdentity ? kLog2E : 1.0f);
            const int first_column = ptx::recomputed(key_begin + column_begin + 2 * (lane_id() % 4));
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = job.row(half);
                const int last = r < window ? rows.key_count - window + r : -1;
                ScorePosition at{b, job.h, g};
                if constexpr (!Score::kIdentity)
                    if (last >= 0) at.query = rows.first_query + rows.query_row(rows.query_count - window + r);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float& value = s[n][2 * half + e];
                        const int j = first_column + 8 * n + e;
                        if (j > last) {
                            value = -kInfinity;
                        } else {
                            value *= factor;
                            if constexpr (!Score::kIdentity) {
                                at.set_key(rows.key_position(j));
                                value = score.apply(value, at) * kLog2E;
                            }
                        }
                    }
                }
            }
        }
    };

    // For each window row the largest score of one tile of keys, and the sum of 2^(score - largest).
    struct RowPartials {
        static constexpr int kThreads = WindowMap::kThreads;
        static constexpr int kTile = kKeyTile;
        static constexpr int kSharedBytes = kTileBytes;

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
                const long long tile = head_of(problem, walk.b, job.h) * tiles_of(problem) + blockIdx.x;
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
                if (!job.is_last_of_head()) return;
                __syncthreads();
                const int strips = divide_up(window, kStripRows);
                float* to = arguments.columns + head * problem.key_length + walk.key_begin;
                for (int c = static_cast<int>(threadIdx.x); c < kKeyTile; c += kThreads)
                    if (walk.key_begin + c < job.rows.key_count) to[c] = column_of(slabs, strips, c);
                to = arguments.diagonals + (head * tiles_of(problem) + blockIdx.x) * kDiagonals;
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
            float lower = 0, upper = 0;
#pragma unroll
            for (int row = 0; row < kStripRows; row++) {
                const int lower_column = row - (lane_id() - (kColumns - 1)), upper_column = row - (lane_id() + 1);
                if (lower_column < kColumns) lower += slab[row * kStride + lower_column];
                if (upper_column >= 0) upper += slab[row * kStride + upper_column];
            }
            diagonals[lane_id() - (kColumns - 1)] += lower;
            if (lane_id() + 1 < kStripRows) diagonals[lane_id() + 1] += upper;
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
