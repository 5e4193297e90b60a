// Scores of a sequence's last queries against one tile of keys, by mma.sync (window.cuh).
//
// The key tile is loaded once and serves all query heads of its block, kRows window rows at a time.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/selection/window.cuh>

namespace attn {

template <typename Config, ScoreHook Score>
struct WindowScores {
    using Element = typename Config::Element;
    static_assert(attn::Element<Element>);

    static constexpr int kHeadDim = Config::kHeadDim;
    static_assert(kHeadDim >= 8 && kHeadDim <= 256 && kHeadDim % 8 == 0);
    static constexpr int kDim = kPaddedDim<kHeadDim>;
    static constexpr int kWindow = Config::kWindow;
    static_assert(kWindow >= 1);

    // Each warp scores 16 rows against the whole tile of keys; as many warps as the window has work for, and as the 99
    // KB of shared memory that every chip from sm_80 has allow.
    static constexpr int kKeyTile = kDim <= 128 ? 128 : 64;
    static constexpr int kWarps = least(divide_up(kWindow, 16), kDim <= 128 ? 8 : 4);
    static constexpr int kRows = kWarps * 16;
    static constexpr int kThreads = kWarps * kWarp;

    using QueryTile = Tile<kRows, kDim>;
    using KeyTile = Tile<kKeyTile, kDim>;
    static constexpr int kSharedBytes = QueryTile::kBytes + KeyTile::kBytes;
    static_assert(kSharedBytes <= 64 * 1024);

    // Keys that score() multiplies at a time: half a tile leaves the registers for two blocks on a multiprocessor.
    static constexpr int kColumns = 64;
    using Fragment = float[1][kColumns / 8][4];

    const Problem& problem;
    const Score& hook;
    int b, g;
    Sequence sequence;
    int key_begin;  // first key of the tile
    unsigned shared;

    __device__ WindowScores(const Problem& problem, const Score& hook, int g, unsigned char* shared)
        : problem(problem),
          hook(hook),
          b(static_cast<int>(blockIdx.z)),
          g(g),
          sequence(sequence_of(problem, b)),
          key_begin(0),
          shared(ptx::shared_address(shared)) {}

    __device__ QueryTile query_tile() const { return {shared}; }
    __device__ KeyTile key_tile() const { return {shared + QueryTile::kBytes}; }

    // Row of the window of fragment row `half` of this lane, in the pass over rows [row_begin, row_begin + kRows).
    __device__ int window_row(int row_begin, int half) const {
        return row_begin + warp_id() * 16 + 8 * half + lane_id() / 4;
    }

    // Moves to a tile and starts the copy of its keys; it is complete when load_queries() has waited.
    __device__ void start_keys(int tile) {
        __syncthreads();  // the last tile has been read
        key_begin = tile * kKeyTile;
        const auto* base = static_cast<const unsigned char*>(problem.key);
        const long long head = problem.key_strides.at(b, g);
        key_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
            const int j = key_begin + row;
            if (j >= sequence.key_length) return nullptr;
            return base + (head + j * problem.key_strides.row) * static_cast<long long>(sizeof(Element));
        });
        ptx::commit_copies();
    }

    // Window rows [row_begin, row_begin + kRows) of query head h. All threads of the block call it.
    __device__ void load_queries(int h, int row_begin) const {
        const int rows = window_rows<kWindow>(sequence);
        const auto* base = static_cast<const unsigned char*>(problem.query);
        const long long head = problem.query_strides.at(ptx::recomputed(b), h);
        __syncthreads();  // the last query tile has been read
        query_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
            const int r = row_begin + row;
            if (r >= rows) return nullptr;
            const int i = sequence.query_length - rows + r;
            return base + (head + i * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
        });
        ptx::commit_copies();
        ptx::wait_for_copies<0>();
        __syncthreads();
    }

    // Scores of those rows of query head h against the tile's keys [column_begin, column_begin + kColumns).
    __device__ void score(int h, int row_begin, int column_begin, Fragment& s) const {
        using Columns = Tile<kColumns, kDim>;
        const Columns columns{key_tile().base + static_cast<unsigned>(column_begin * KeyTile::kRowBytes)};
        const int rows = window_rows<kWindow>(sequence);
#pragma unroll
        for (int n = 0; n < kColumns / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) s[0][n][e] = 0;
        multiply_transposed<Element, 1, kColumns>(s, query_tile(), warp_id() * 16, columns);

        const float factor = Score::kIdentity ? problem.scale * kLog2E : problem.scale;
        const int first_row = ptx::recomputed(window_row(row_begin, 0));
        const int first_column = ptx::recomputed(2 * (lane_id() % 4));
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int r = first_row + 8 * half;
            const int last = r < rows ? sequence.key_length - rows + r - key_begin - column_begin : -1;
            ScorePosition at{b, h, g, sequence.key_length - rows + r};
#pragma unroll
            for (int n = 0; n < kColumns / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float& value = s[0][n][2 * half + e];
                    const int column = 8 * n + e + first_column;
                    value *= factor;
                    if (column > last) {
                        value = -kInfinity;
                    } else if constexpr (!Score::kIdentity) {
                        at.set_key(key_begin + column_begin + column);
                        value = hook.apply(value, at) * kLog2E;
                    }
                }
            }
        }
    }
};

}  // namespace attn
