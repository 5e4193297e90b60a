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

    static constexpr int kColumns = 32;           // keys that are multiplied at a time
    static constexpr int kStride = kColumns + 1;  // of a slab of probabilities: diagonals read different banks

    using QueryTile = Tile<kRows, kDim>;
    using KeyTile = Tile<kKeyTile, kDim>;
    static constexpr int kTileBytes = QueryTile::kBytes + KeyTile::kBytes;
    using Fragment = float[1][kColumns / 8][4];
    using HeadRowsOf = HeadRows<Rows::kIndexed>;

    static __device__ int window_rows(const HeadRowsOf& rows) { return least(kWindow, rows.query_count); }

    static __device__ long long head_of(const Problem& problem, int b, int h) {
        return static_cast<long long>(b) * problem.query_heads + h;
    }

    static __device__ int tiles_of(const Problem& problem) { return divide_up(problem.key_length, kKeyTile); }

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

        __device__ QueryTile query_tile() const { return {shared}; }
        __device__ KeyTile key_tile() const { return {shared + QueryTile::kBytes}; }

        __device__ int window_row(int row_begin, int half) const {
            return row_begin + warp_id() * 16 + 8 * half + lane_id() / 4;
        }

        // visit(h, rows) for each head that has a key in the tile and a query, its keys loaded.
        template <typename Visit>
        __device__ void for_each_head(Visit visit) const {
            const int group = problem.query_heads / problem.key_value_heads;
            const Sequence sequence = sequence_of(problem, b);
            bool loaded = false;
            for (int h = g * group; h < (g + 1) * group; h++) {
                const HeadRowsOf rows = source.rows(problem, sequence, b, h);
                if (key_begin >= rows.key_count || rows.query_count <= 0) continue;
                if (!loaded) load_keys(rows);
                loaded = !Rows::kIndexed;  // heads of a group that choose for themselves have keys of their own
                visit(h, rows);
            }
        }

        __device__ void load_keys(const HeadRowsOf& rows) const {
            const auto* base = static_cast<const unsigned char*>(problem.key);
            const long long head = problem.key_strides.at(b, g);
            __syncthreads();  // the last key tile has been read
            key_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
                const int j = key_begin + row;
                if (j >= rows.key_count) return nullptr;
                const long long offset = head + rows.key_position(j) * problem.key_strides.row;
                return base + offset * static_cast<long long>(sizeof(Element));
            });
            ptx::commit_copies();  // complete when load_queries() has waited
        }

        // Window rows [row_begin, row_begin + kRows) of a head.
        __device__ void load_queries(int h, const HeadRowsOf& rows, int row_begin) const {
            const int window = window_rows(rows);
            const auto* base = static_cast<const unsigned char*>(problem.query);
            const long long head = problem.query_strides.at(b, h);
            __syncthreads();  // the last query tile has been read
            query_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
                const int r = row_begin + row;
                if (r >= window) return nullptr;
                const int i = rows.query_row(rows.query_count - window + r);
                return base + (head + i * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
            });
            ptx::commit_copies();
            ptx::wait_for_copies<0>();
            __syncthreads();
        }

        // Scores in base 2 of those rows against the tile's keys [column_begin, column_begin + kColumns); -inf where a row does
        // not see a key.
        __device__ void scores(int h, const HeadRowsOf& rows, int row_begin, int column_begin, Fragment& s) const {
            using Columns = attn::Tile<kColumns, kDim>;
            const Columns columns{key_tile().base + static_cast<unsigned>(column_begin * KeyTile::kRowBytes)};
#pragma unroll
            for (int n = 0; n < kColumns / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[0][n][e] = 0;
            multiply_transposed<Element, 1, kColumns>(s, query_tile(), warp_id() * 16, columns);

            const int window = window_rows(rows);
            const float factor = problem.scale * (Score::kIdentity ? kLog2E : 1.0f);
            const int first_column = ptx::recomputed(key_begin + column_begin + 2 * (lane_id() % 4));
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = window_row(row_begin, half);
                const int last = r < window ? rows.key_count - window + r : -1;
                ScorePosition at{b, h, g};
                if constexpr (!Score::kIdentity)
                    if (last >= 0) at.query = rows.first_query + rows.query_row(rows.query_count - window + r);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float& value = s[0][n][2 * half + e];
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
            walk.for_each_head([&](int h, const HeadRowsOf& rows) {
                const int window = window_rows(rows);
                const long long tile = head_of(problem, walk.b, h) * tiles_of(problem) + blockIdx.x;
                float2* to = arguments.row_partials + tile * kWindow;
                for (int row_begin = 0; row_begin < window; row_begin += kRows) {
                    walk.load_queries(h, rows, row_begin);
                    float2 partials[2] = {make_float2(-kInfinity, 0), make_float2(-kInfinity, 0)};
#pragma unroll 1
                    for (int column = 0; column < kKeyTile; column += kColumns) {
                        Fragment s;
                        walk.scores(h, rows, row_begin, column, s);
                        add(s, partials);
                    }
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const float sum = row_sum(partials[half].y);
                        const int r = walk.window_row(row_begin, half);
                        if (lane_id() % 4 == 0 && r < window) to[r] = make_float2(partials[half].x, sum);
                    }
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
                    highest = fmaxf(highest, fmaxf(s[0][n][2 * half], s[0][n][2 * half + 1]));
                highest = row_max(highest);
                const float origin = highest == -kInfinity ? 0 : highest;
                float sum = partials[half].y * ptx::exp2(partials[half].x - origin);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++)
                    sum += ptx::exp2(s[0][n][2 * half] - origin) + ptx::exp2(s[0][n][2 * half + 1] - origin);
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
        static constexpr int kSharedBytes =
            kTileBytes + (kRows * kStride + kKeyTile + kDiagonals) * static_cast<int>(sizeof(float));
        static_assert(kSharedBytes <= 99 * 1024);

        struct Arguments {
            const float2* row_stats;
            float* columns;    // [batch, query heads, key length]
            float* diagonals;  // [batch, query heads, key tiles, kDiagonals]
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score& score, const Arguments& arguments,
                                   unsigned char* shared) {
            auto* slab = reinterpret_cast<float*>(shared + kTileBytes);  // [kRows, kStride]
            float* columns = slab + kRows * kStride;                     // [kKeyTile]
            float* diagonals = columns + kKeyTile;                       // [kDiagonals]: r - c + kKeyTile - 1, c the column
            const Walk walk(problem, source, score, shared);
            walk.for_each_head([&](int h, const HeadRowsOf& rows) {
                const int window = window_rows(rows);
                const long long head = head_of(problem, walk.b, h);
                __syncthreads();  // the sums of the last head have been read
                for (int i = static_cast<int>(threadIdx.x); i < kKeyTile + kDiagonals; i += kThreads) columns[i] = 0;
                for (int row_begin = 0; row_begin < window; row_begin += kRows) {
                    walk.load_queries(h, rows, row_begin);
                    float2 stats[2];
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int r = walk.window_row(row_begin, half);
                        stats[half] = r < window ? arguments.row_stats[head * kWindow + r] : make_float2(0, 0);
                    }
#pragma unroll 1
                    for (int column = 0; column < kKeyTile; column += kColumns) {
                        Fragment s;
                        walk.scores(h, rows, row_begin, column, s);
                        store(s, stats, slab);
                        __syncthreads();
                        add(slab, columns + column, diagonals + row_begin - column + kKeyTile - 1);
                        __syncthreads();
                    }
                }
                for (int i = static_cast<int>(threadIdx.x); i < kKeyTile; i += kThreads)
                    if (walk.key_begin + i < rows.key_count)
                        arguments.columns[head * problem.key_length + walk.key_begin + i] = columns[i];
                float* to = arguments.diagonals + (head * tiles_of(problem) + blockIdx.x) * kDiagonals;
                for (int i = static_cast<int>(threadIdx.x); i < kDiagonals; i += kThreads) to[i] = diagonals[i];
            });
        }

        static __device__ void store(const Fragment& s, const float2 (&stats)[2], float* slab) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float* row = slab + (warp_id() * 16 + 8 * half + lane_id() / 4) * kStride + 2 * (lane_id() % 4);
#pragma unroll
                for (int n = 0; n < kColumns / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        row[8 * n + e] = ptx::exp2(s[0][n][2 * half + e] - stats[half].x) * stats[half].y;
            }
        }

        // A thread owns a column or a diagonal of the slab.
        static __device__ void add(const float* slab, float* columns, float* diagonals) {
            for (int i = static_cast<int>(threadIdx.x); i < kColumns + kRows + kColumns - 1; i += kThreads) {
                float sum = 0;
                if (i < kColumns) {
                    for (int row = 0; row < kRows; row++) sum += slab[row * kStride + i];
                    columns[i] += sum;
                } else {
                    const int diagonal = i - 2 * kColumns + 1;  // row less column
                    const int end = least(kColumns, kRows - diagonal);
                    for (int c = largest(0, -diagonal); c < end; c++) sum += slab[(c + diagonal) * kStride + c];
                    diagonals[diagonal] += sum;
                }
            }
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
