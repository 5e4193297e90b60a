// The portable attention main loop: mma.sync and cp.async, from sm_80. One block owns kQueryTile queries of one query
// head and walks the keys that they see in tiles of kKeyTile, in the order that the key blocks give (key_walk.cuh).
//
//   b, h, g        sequence, query head, key/value head
//   i, j           query, key among the rows that take part (hooks.cuh); row of a tile where it is local
//   Q K V O        [queries, d], [keys, d], [keys, d], [queries, d];  d = kHeadDim, padded with zeroes to kDim
//   S = Q K^T      times scale, then the score hook and the mask, times log2(e)
//   P = 2^(S - m)  m the largest S of the row so far;  O = sum of P V, l = sum of P;  result O / l
//   diagonal       query i sees key j if j <= i + key_count - query_count
//
// Keys and values go through a ring of two stages: the n + 1st tile is copied while the nth is multiplied. Where rows are
// indexed, a ring of four holds the key positions. Those of the n + 3rd are copied together with the rows of the n + 1st,
// so that they have been waited for when the copy of the rows of the n + 3rd starts. Rows of keys and values past
// key_count are zeroes, not only masked: 0 * NaN would be NaN.
#pragma once

#include <attncompose/attention/key_walk.cuh>
#include <attncompose/attention/online_softmax.cuh>

namespace attn {

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination, KeyBlocks Blocks>
struct MmaLoop {
    using Element = typename Config::Element;
    using Output = typename Config::Output;
    static_assert(attn::Element<Element> && OutputElement<Output, Element>);

    static constexpr int kHeadDim = Config::kHeadDim;
    static_assert(kHeadDim >= 8 && kHeadDim <= 256 && kHeadDim % 8 == 0);
    static constexpr int kDim = kPaddedDim<kHeadDim>;

    // Where the accumulators leave registers for it, a warp owns 32 query rows, so that each fragment of keys and
    // values feeds two multiplications; a rule or a list wants registers too. The tiles fit the 99 KB of shared memory that
    // every chip from sm_80 has.
    static constexpr int kRowTiles = kDim <= (Score::kIdentity && !Blocks::kListed ? 64 : 32) ? 2 : 1;
    static constexpr int kWarps = kDim > 64 && kDim <= 128 ? 8 : 4;
    static constexpr int kQueryTile = kWarps * kRowTiles * 16;
    static constexpr int kKeyTile = kDim <= 128 ? 64 : 32;
    static constexpr int kStages = 2;
    static constexpr int kPositionStages = 4;
    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr int kParts = Blocks::template kParts<kQueryTile>;

    using QueryTile = Tile<kQueryTile, kDim>;
    using KeyTile = Tile<kKeyTile, kDim>;

    static constexpr int kThreads = kWarps * kWarp;
    static constexpr int kTile = kQueryTile;
    static constexpr int kPositionBytes = kIndexed ? kPositionStages * kKeyTile * static_cast<int>(sizeof(int)) : 0;
    static constexpr int kSharedBytes = QueryTile::kBytes + 2 * kStages * KeyTile::kBytes + kPositionBytes;
    static_assert(kSharedBytes <= 99 * 1024);
    static constexpr int kMainLoop = 80, kBoxColumns = 0, kBoxRows = 0;

    // Whether mask rules are asked in tiles that need no mask, and whether rules may leave nothing of a row there.
    static constexpr bool kAsksEverywhere = Score::kMasks && !Blocks::kProven;
    static constexpr bool kGuardsEverywhere = kAsksEverywhere || Score::kChanges;

    using Softmax = OnlineSoftmax<kRowTiles>;
    using Scores = float[kRowTiles][kKeyTile / 8][4];
    using Results = float[kRowTiles][kDim / 8][4];

    const Problem& problem;
    const Score& score;
    const Destination& destination;
    const Blocks& blocks;
    int b, h, g;
    HeadRows<kIndexed> rows;
    int tile_begin;  // first query of the tile
    unsigned shared;

    static __device__ void run(const Problem& problem, const Rows& source, const Score& score,
                               const Destination& destination, const Blocks& blocks, unsigned char* shared) {
        const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
        // Blocks start in order of their index.
        const int tile = blocks.place_of(problem, b, h, static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x)).tile;
        const MmaLoop loop{problem,
                           score,
                           destination,
                           blocks,
                           b,
                           h,
                           problem.key_value_head(h),
                           source.rows(problem, sequence_of(problem, b), b, h),
                           tile * kQueryTile,
                           ptx::shared_address(shared)};
        loop.fill_skipped_rows();
        if (loop.tile_begin < loop.rows.query_count) loop.attend();
    }

    __device__ QueryTile query_tile() const { return {shared}; }
    __device__ KeyTile key_tile(int stage) const { return {shared + QueryTile::kBytes + stage * KeyTile::kBytes}; }
    __device__ KeyTile value_tile(int stage) const { return key_tile(kStages + stage); }
    __device__ unsigned positions_address(int n) const {
        return shared + kSharedBytes - kPositionBytes + n % kPositionStages * kKeyTile * sizeof(int);
    }

    // Last key that query i sees; below 0 where it sees none.
    __device__ int last_key(int i) const {
        return rows.template last_key<Config::kCausal>(i);
    }
    __device__ int first_row_of_warp() const { return warp_id() * kRowTiles * 16; }

    __device__ void attend() const {
        const WalkRange range = walk_range_of<Config::kCausal, kQueryTile, kKeyTile>(rows, b, h, g, tile_begin);
        auto walk = blocks.template walk<kQueryTile, kKeyTile>(range);
        // The tile at hand, and those of which something is on its way.
        constexpr int kAhead = kIndexed ? 3 : 1;
        KeyStep at[kAhead + 1];
#pragma unroll
        for (int k = 0; k <= kAhead; k++) at[k] = walk.next();

        start_queries();
        if constexpr (kIndexed) {
#pragma unroll
            for (int k = 0; k < kAhead; k++) start_positions(k, at[k]);
            ptx::commit_copies();
            ptx::wait_for_copies<0>();
            __syncthreads();
        }
        if (at[0].is_tile()) start_keys_and_values(0, at[0]);
        ptx::commit_copies();

        Softmax softmax;
        start_with_sinks(softmax);
        Results o = {};
        for (int n = 0; at[0].is_tile(); n++) {
            if (at[1].is_tile()) {
                start_keys_and_values(n + 1, at[1]);
                if constexpr (kIndexed) start_positions(n + 3, at[kAhead]);
            }
            ptx::commit_copies();
            ptx::wait_for_copies<1>();
            __syncthreads();
            if (kParts == 1 || !at[0].is_skipped(part_of_warp())) {
                if (at[0].is_masked())
                    step<true>(n, at[0], softmax, o);
                else
                    step<false>(n, at[0], softmax, o);
            }
            __syncthreads();
#pragma unroll
            for (int k = 0; k < kAhead; k++) at[k] = at[k + 1];
            at[kAhead] = walk.next();
        }
        // Without a single key the queries are still on their way, to where the result is staged.
        ptx::wait_for_copies<0>();
        __syncthreads();
        softmax.finish();
        store(softmax, o);
    }

    // Which query block of the tile this warp's queries lie in.
    __device__ int part_of_warp() const { return first_row_of_warp() / (kQueryTile / kParts); }

    __device__ void start_queries() const {
        const auto* base = static_cast<const unsigned char*>(problem.query);
        const long long head = problem.query_strides.at(b, h);
        query_tile().template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
            int i = tile_begin + row;
            if (i >= rows.query_count) return nullptr;
            return base +
                   (head + rows.query_row(i) * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
        });
    }

    // Key `row` of a tile, among those that take part; at least key_count where there is none.
    __device__ int key_of(const KeyStep& at, int row) const {
        if constexpr (Blocks::kColumns) {
            if (at.is_columns()) return blocks.columns(b, h).key(at.base + row);
        }
        return at.base + row;
    }

    __device__ void start_positions(int n, const KeyStep& at) const {
        static_assert(kKeyTile <= kThreads);
        if (threadIdx.x >= kKeyTile) return;
        const int j = key_of(at, static_cast<int>(threadIdx.x));
        bool valid = j < rows.key_count;
        ptx::copy_word_async(positions_address(n) + threadIdx.x * sizeof(int), rows.positions + (valid ? j : 0), valid);
    }

    // Position of key `row` of the nth tile; of an indexed one, only while it is in the ring.
    __device__ int key_position(int n, const KeyStep& at, int row) const {
        if constexpr (kIndexed)
            return ptx::load_word(positions_address(n) + static_cast<unsigned>(row) * sizeof(int));
        else
            return key_of(at, row);
    }

    __device__ void start_keys_and_values(int n, const KeyStep& at) const {
        start_rows(key_tile(n % kStages), problem.key, problem.key_strides, n, at);
        start_rows(value_tile(n % kStages), problem.value, problem.value_strides, n, at);
    }

    __device__ void start_rows(const KeyTile& to, const void* tensor, const Strides& strides, int n, const KeyStep& at) const {
        const auto* base = static_cast<const unsigned char*>(tensor);
        const long long head = strides.at(ptx::recomputed(b), ptx::recomputed(g));
        to.template load_async<kHeadDim, kThreads>(base, [&](int row) -> const unsigned char* {
            if (key_of(at, row) >= rows.key_count) return nullptr;
            return base + (head + key_position(n, at, row) * strides.row) * static_cast<long long>(sizeof(Element));
        });
    }

    template <bool kMasked>
    __device__ void step(int n, const KeyStep& at, Softmax& softmax, Results& o) const {
        Scores s = {};
        multiply_transposed<Element, kRowTiles, kKeyTile>(s, query_tile(), first_row_of_warp(),
                                                          key_tile(n % kStages));
        apply_score_and_mask<kMasked>(s, n, at);
        // The masked tiles, which come first, may lie beyond a row's diagonal.
        softmax.template update<kMasked || kGuardsEverywhere>(s, o, softmax_factor());
        multiply_by_values(o, s, value_tile(n % kStages));
    }

    // A rule wants scores in natural-log units; the change of base is then left to the exponents.
    static __device__ constexpr float softmax_factor() { return Score::kChanges ? kLog2E : 1; }

    // A sink is as a first key, whose value is 0.
    __device__ void start_with_sinks(Softmax& softmax) const {
        if constexpr (Score::kHasSink) {
#pragma unroll
            for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    const int i = least(tile_begin + first_row_of_warp() + lane_id() / 4 + 16 * a + 8 * half, rows.query_count - 1);
                    const ScorePosition at{b, h, g, rows.first_query + rows.query_row(i)};
                    softmax.start_with(a, half, score.sink(at) * (kLog2E / softmax_factor()));
                }
            }
        }
    }

    template <bool kMasked>
    __device__ void apply_score_and_mask(Scores& s, int nth, const KeyStep& tile) const {
        const int first_row = ptx::recomputed(tile_begin + first_row_of_warp() + lane_id() / 4);
        const float factor = Score::kChanges ? problem.scale : problem.scale * kLog2E;
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int i = first_row + 16 * a + 8 * half;
                const int last = last_key(i);
                ScorePosition at{b, h, g};
                if constexpr (!Score::kIdentity)
                    at.query = rows.first_query + rows.query_row(least(i, rows.query_count - 1));
#pragma unroll
                for (int n = 0; n < kKeyTile / 8; n++) {
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        float& value = s[a][n][2 * half + e];
                        const int row = 8 * n + 2 * (lane_id() % 4) + e;
                        // Multiplied before the mask: a scale of 0 would turn -inf into NaN.
                        value *= factor;
                        if (kMasked && is_masked(tile, i, last, row)) {
                            value = -kInfinity;
                        } else if constexpr (!Score::kIdentity) {
                            at.set_key(key_position(nth, tile, row));
                            value = after_rules<kMasked || kAsksEverywhere>(score, value, at);
                        }
                    }
                }
            }
        }
    }

    // Whether query i does not see key `row` of a tile, the last key that it sees being `last`.
    __device__ bool is_masked(const KeyStep& tile, int i, int last, int row) const {
        const int key = key_of(tile, row);
        if (key > last) return true;
        if constexpr (Blocks::kColumns || Blocks::kSlashes) {
            if (tile.is_columns() || tile.is_slashes())
                return blocks.hides(tile.flags, b, h, least(i, rows.query_count - 1) / Blocks::kBlockQuery,
                                    i + rows.key_count - rows.query_count, key);
        }
        return false;
    }

    // o += P V; the accumulators of two neighbouring score tiles are, packed, the A operand of 16 keys.
    __device__ static void multiply_by_values(Results& o, const Scores& p, const KeyTile& values) {
        const auto lane = values.b_operands();
#pragma unroll
        for (int step = 0; step < kKeyTile / 16; step++) {
            unsigned left[kRowTiles][4];
#pragma unroll
            for (int a = 0; a < kRowTiles; a++) {
                left[a][0] = ptx::pack<Element>(p[a][2 * step][0], p[a][2 * step][1]);
                left[a][1] = ptx::pack<Element>(p[a][2 * step][2], p[a][2 * step][3]);
                left[a][2] = ptx::pack<Element>(p[a][2 * step + 1][0], p[a][2 * step + 1][1]);
                left[a][3] = ptx::pack<Element>(p[a][2 * step + 1][2], p[a][2 * step + 1][3]);
            }
#pragma unroll
            for (int n = 0; n < kDim / 16; n++) {
                unsigned right[4];
                ptx::load_matrices_transposed(right, lane.address(16 * step, n));
#pragma unroll
                for (int a = 0; a < kRowTiles; a++) {
                    ptx::multiply_add<Element>(o[a][2 * n], left[a], right[0], right[1]);
                    ptx::multiply_add<Element>(o[a][2 * n + 1], left[a], right[2], right[3]);
                }
            }
        }
    }

    // Made where it is needed, so that the main loop has its registers.
    __device__ auto output_rows() const {
        return destination.rows(problem, sequence_of(problem, b), b, h);
    }
    __device__ Output* output_at(int row) const {
        return static_cast<Output*>(problem.output) + problem.output_strides.at(b, h) +
               row * problem.output_strides.row;
    }
    __device__ void store_log_sum_exp(int row, float value) const {
        const Strides& strides = problem.log_sum_exp_strides;
        problem.log_sum_exp[strides.at(b, h) + row * strides.row] = value;
    }

    __device__ void store(const Softmax& softmax, Results& o) const {
        const auto rows_of_output = output_rows();
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const float normalizer = softmax.normalizer(a, half);
#pragma unroll
                for (int n = 0; n < kDim / 8; n++) {
                    o[a][n][2 * half] *= normalizer;
                    o[a][n][2 * half + 1] *= normalizer;
                }
                const int i = tile_begin + first_row_of_warp() + 16 * a + 8 * half + lane_id() / 4;
                if (problem.log_sum_exp && lane_id() % 4 == 0 && i < rows.query_count)
                    store_log_sum_exp(rows_of_output.query_row(i), softmax.log_sum_exp(a, half, softmax_factor()));
            }
        }
        if constexpr (kSame<Output, float>)
            store_floats(rows_of_output, o);
        else
            store_elements(rows_of_output, o);
    }

    // Four lanes store the 32 bytes of a memory sector.
    template <typename OutputRows>
    __device__ void store_floats(const OutputRows& output_rows, const Results& o) const {
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int i = tile_begin + first_row_of_warp() + 16 * a + 8 * half + lane_id() / 4;
                if (i >= rows.query_count) continue;
                float* to = output_at(output_rows.query_row(i));
#pragma unroll
                for (int n = 0; n < kHeadDim / 8; n++)
                    *reinterpret_cast<float2*>(to + 8 * n + 2 * (lane_id() % 4)) =
                        make_float2(o[a][n][2 * half], o[a][n][2 * half + 1]);
            }
        }
    }

    // Through shared memory, so that each row leaves in whole chunks. A warp is the only reader of its query rows, so
    // it may overwrite them.
    template <typename OutputRows>
    __device__ void store_elements(const OutputRows& output_rows, const Results& o) const {
        constexpr int kRows = kRowTiles * 16, kRowChunks = kHeadDim / kChunkElements;
        const QueryTile staging = query_tile();
        __syncwarp();
#pragma unroll
        for (int a = 0; a < kRowTiles; a++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = first_row_of_warp() + 16 * a + 8 * half + lane_id() / 4;
#pragma unroll
                for (int n = 0; n < kRowChunks; n++)
                    ptx::store_word(staging.address(row, n) + lane_id() % 4 * sizeof(unsigned),
                                    ptx::pack<Element>(o[a][n][2 * half], o[a][n][2 * half + 1]));
            }
        }
        __syncwarp();
        for (int index = lane_id(); index < kRows * kRowChunks; index += kWarp) {
            const int row = first_row_of_warp() + index / kRowChunks, chunk = index % kRowChunks;
            const int i = tile_begin + row;
            if (i < rows.query_count)
                reinterpret_cast<Chunk*>(output_at(output_rows.query_row(i)))[chunk] =
                    ptx::load_chunk(staging.address(row, chunk));
        }
    }

    // Rows of the output that no query belongs to, in this tile's range of the original sequence.
    __device__ void fill_skipped_rows() const {
        constexpr int kRowChunks = kHeadDim * static_cast<int>(sizeof(Output)) / kChunkBytes;
        const int end = least(tile_begin + kQueryTile, problem.query_length);
        output_rows().template for_each_skipped<kWarps, kQueryTile>(warp_id(), tile_begin, end, [&](int row) {
            auto* to = reinterpret_cast<Chunk*>(output_at(row));
            for (int chunk = lane_id(); chunk < kRowChunks; chunk += kWarp) to[chunk] = Chunk{};
            if (problem.log_sum_exp && lane_id() == 0) store_log_sum_exp(row, -kInfinity);
        });
    }
};

}  // namespace attn
