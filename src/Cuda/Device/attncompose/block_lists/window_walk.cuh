// The last queries of the heads of a group against their keys: how the two passes of window_map.cuh get their scores.
//
//   W, w, r     window (kWindow), its valid rows min(W, queries), one of them; a row is one of the queries that take part
//   piece       one tile of keys of one query head. The blocks of a key/value head share out the pieces of its group evenly:
//               with a tile and all heads a block, a few tiles more than blocks that run at once take as long as twice the tiles.
//   strip       16 rows of the window, a warp's at a time: it copies them and keeps them as operands in registers, so that those
//               of the next head are on their way while these are multiplied. Warps only meet where they share keys.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/selection/block_reduce.cuh>

namespace attn {

// Config: kHeadDim, Element. Rows and Score are the hooks of the attention loop.
template <typename Config, int kWindowRows, typename Rows, typename Score>
struct WindowWalk {
    using Element = typename Config::Element;
    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kDim = kPaddedDim<kHeadDim>;
    static constexpr int kWindow = kWindowRows;
    static_assert(kWindow >= 1 && kWindow <= 128);

    // As many warps as the window has strips, and as the 99 KB of shared memory that every chip from sm_80 has allow.
    static constexpr int kStripRows = 16;
    static constexpr int kWarps = least(divide_up(kWindow, kStripRows), kDim <= 128 ? 8 : 4);
    static constexpr int kThreads = kWarps * kWarp;
    static constexpr int kRows = kWarps * kStripRows, kStrips = divide_up(kWindow, kRows) * kWarps;
    static constexpr int kKeyTile = kDim <= 128 ? 128 : 64;

    static constexpr int kColumns = 32;  // keys that are multiplied at a time

    using QueryTile = Tile<kRows, kDim>;
    using StripTile = Tile<kStripRows, kDim>;
    using KeyTile = Tile<kKeyTile, kDim>;
    using Operands = unsigned[kDim / 16][4];  // of a strip
    static constexpr int kTileBytes = QueryTile::kBytes + KeyTile::kBytes;
    using Fragment = float[kColumns / 8][4];
    using HeadRowsOf = HeadRows<Rows::kIndexed>;

    static __device__ int window_rows(const HeadRowsOf& rows) { return least(kWindow, rows.query_count); }

    // Rows [row_begin, row_begin + kRows) of the window of a head, a strip for each warp, against a tile of its keys.
    struct Job {
        int h, tile;
        int row_begin;
        HeadRowsOf rows;

        __device__ int key_begin() const { return tile * kKeyTile; }
        __device__ bool is_last_of_piece() const { return row_begin + kRows >= window_rows(rows); }
        __device__ int strip() const { return row_begin / kStripRows + warp_id(); }
        // Row of the window that this lane has in its strip, of two that are 8 apart.
        __device__ int row(int half) const { return strip() * kStripRows + 8 * half + lane_id() / 4; }
    };

    const Problem& problem;
    const Rows& source;
    const Score& score;
    int b, g;
    unsigned shared;

    __device__ WindowWalk(const Problem& problem, const Rows& source, const Score& score, unsigned char* shared)
        : problem(problem),
          source(source),
          score(score),
          b(static_cast<int>(blockIdx.z)),
          g(static_cast<int>(blockIdx.y)),
          shared(ptx::shared_address(shared)) {}

    __device__ StripTile query_tile() const {
        return {shared + static_cast<unsigned>(warp_id() * kStripRows * StripTile::kRowBytes)};
    }
    __device__ KeyTile key_tile() const { return {shared + QueryTile::kBytes}; }

    // visit(job, operands) for the jobs of this block's pieces. All threads have met before each.
    template <typename Visit>
    __device__ void for_each_job(Visit visit) const {
        const long long pieces = count_pieces();
        int left = static_cast<int>((blockIdx.x + 1) * pieces / gridDim.x - blockIdx.x * pieces / gridDim.x);
        if (left == 0) return;
        Job job = piece(static_cast<int>(blockIdx.x * pieces / gridDim.x));
        load_keys(job);
        load_queries(job);
        while (true) {
            ptx::wait_for_copies<0>();
            __syncthreads();
            Operands operands;
            load_operands(operands);
            if (job.is_last_of_piece()) left--;
            const Job next = left > 0 ? after(job) : job;
            if (left > 0) load_queries(next);  // on their way while these are visited
            visit(job, operands);
            if (left == 0) return;
            if (next.tile != job.tile || (Rows::kIndexed && next.h != job.h)) {
                __syncthreads();
                load_keys(next);
            }
            job = next;
        }
    }

    // Heads that choose for themselves have keys of their own: the pieces of one head follow each other. Otherwise those of one tile do, so
    // that its keys are loaded once.
    __device__ int group() const { return problem.query_heads / problem.key_value_heads; }
    __device__ HeadRowsOf rows_of(int h) const { return source.rows(problem, sequence_of(problem, b), b, h); }
    static __device__ int tiles_of(const HeadRowsOf& rows) { return rows.query_count > 0 ? divide_up(rows.key_count, kKeyTile) : 0; }

    __device__ int count_pieces() const {
        if constexpr (!Rows::kIndexed) return tiles_of(rows_of(g * group())) * group();
        int pieces = 0;
        for (int i = lane_id(); i < group(); i += kWarp) pieces += tiles_of(rows_of(g * group() + i));
        return warp_reduce(pieces, Sum{});
    }
    __device__ Job piece(int index) const {
        if constexpr (!Rows::kIndexed) {
            const int h = g * group() + index % group();
            return {h, index / group(), 0, rows_of(h)};
        }
        return piece_from(g * group(), index);
    }
    // Piece `index` of the heads from h on; there is one.
    __device__ Job piece_from(int h, int index) const {
        while (true) {
            const HeadRowsOf rows = rows_of(h);
            if (index < tiles_of(rows)) return {h, index, 0, rows};
            index -= tiles_of(rows);
            h++;
        }
    }
    __device__ Job after(const Job& job) const {
        if (!job.is_last_of_piece()) return {job.h, job.tile, job.row_begin + kRows, job.rows};
        if constexpr (Rows::kIndexed) return job.tile + 1 < tiles_of(job.rows) ? Job{job.h, job.tile + 1, 0, job.rows} : piece_from(job.h + 1, 0);
        return job.h + 1 < (g + 1) * group() ? Job{job.h + 1, job.tile, 0, job.rows} : Job{g * group(), job.tile + 1, 0, job.rows};
    }

    __device__ void load_keys(const Job& job) const {
        const auto* base = static_cast<const unsigned char*>(problem.key);
        const long long head = problem.key_strides.at(b, g);
        key_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
            const int j = job.key_begin() + row;
            if (j >= job.rows.key_count) return nullptr;
            const long long offset = head + job.rows.key_position(j) * problem.key_strides.row;
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
        const int first_column = ptx::recomputed(job.key_begin() + column_begin + 2 * (lane_id() % 4));
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

}  // namespace attn
