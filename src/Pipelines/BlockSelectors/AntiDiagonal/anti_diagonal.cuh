// Block selector of XAttention (arXiv 2503.16428): key blocks are ranked by the antidiagonals of small squares of the attention
// map, which every column and every diagonal of the map crosses.
//
//   S             stride (kStride)
//   group         S consecutive rows: m counts groups of the queries that take part, n groups of the keys
//   C[m][n]       mean over s < S of scale Q[m S + S - 1 - s] . K[n S + s], one antidiagonal of the S x S pairs; rows beyond the
//                 end count as 0
//   P[m]          softmax of C[m] over the groups n whose first key the last query of group m may see
//   score[i][j]   mean over the groups m of query block i of the sum of P[m][n] over the groups n of key block j
//   chosen        the first key block, those that hold the diagonal, and of the others the fewest, highest first, that hold
//                 with them a share `threshold` of the sum of score[i]
//
// All of C is one matrix product over S head dims; what is kept of it is a number for each group of queries and key block, for
// the groups that are being computed alone. A row of scores that is not finite visits everything.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/query_block.cuh>

namespace attn {

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal, kStride.
template <typename Config, typename Rows, typename Score>
struct AntiDiagonal {
    static constexpr bool kColumns = false, kSlashes = false;
    static constexpr int kBlockQuery = Config::kBlockQuery, kBlockKey = Config::kBlockKey, kStride = Config::kStride;
    using Element = typename Config::Element;
    using HeadRowsOf = HeadRows<Rows::kIndexed>;

    // A block takes tiles of kRows groups of queries, and walks the groups of keys, kColumns at a time.
    struct Scores {
        static constexpr int kRows = 128, kColumns = 256, kWarpRows = 64, kWarpColumns = 64;
        static constexpr int kWarpsAcross = kColumns / kWarpColumns;
        static constexpr int kThreads = kRows / kWarpRows * kWarpsAcross * kWarp;
        static constexpr int kTile = kRows * kStride;  // queries
        static constexpr int kSegments = 256, kHeads = 1, kResident = 1;

        // One step multiplies a slice of the head dims of one row of each group; two steps' slices are in shared memory.
        static constexpr int kDim = kPaddedDim<Config::kHeadDim>;
        static constexpr int kSlice = kDim % 64 == 0 ? 64 : kDim % 32 == 0 ? 32 : 16;
        static constexpr int kSlices = kDim / kSlice, kSteps = kStride * kSlices;
        using QueryTile = Tile<kRows, kSlice>;
        using KeyTile = Tile<kColumns, kSlice>;
        static constexpr int kStageBytes = QueryTile::kBytes + KeyTile::kBytes;
        static constexpr int kSharedBytes = 2 * kStageBytes;
        static_assert(kSharedBytes <= 99 * 1024);

        static constexpr int kQueryGroups = kBlockQuery / kStride;  // of a query block
        static constexpr int kKeyGroups = kBlockKey / kStride;      // of a key block: 4, 8 or 16
        static constexpr int kTileBlocks = kColumns / kKeyGroups, kWarpBlocks = kWarpColumns / kKeyGroups;
        static_assert(kBlockQuery % kStride == 0 && kBlockKey % kStride == 0 && kKeyGroups >= 4 && kKeyGroups <= 16);
        using Fragment = float[kWarpRows / 16][kWarpColumns / 8][4];

        struct Arguments {
            float* group_sums;    // [blocks, kRows, key blocks of whole tiles]: log2 of the sum of 2^C over a key block
            float* block_scores;  // [batch, query heads, query blocks, key blocks]
        };

        static __device__ long long columns_of(const Problem& problem) {
            return divide_up(divide_up(problem.key_length, kBlockKey), kTileBlocks) * kTileBlocks;
        }

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int x = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
            const HeadRowsOf rows = source.rows(problem, sequence_of(problem, b), b, h);
            const int tiles = divide_up(rows.query_count, kTile);
            const long long place = (static_cast<long long>(b) * gridDim.y + h) * blocks + x;
            float* sums = arguments.group_sums + place * kRows * columns_of(problem);
            // To and fro from the end, where queries see most, so that all blocks of a head have about as much to do.
            for (int first = 0; first < tiles; first += blocks) {
                const int tile = tiles - 1 - first - (first / blocks % 2 == 0 ? x : blocks - 1 - x);
                if (tile < 0) continue;
                const TileOf of{problem, rows, b, h, tile * kRows, ptx::shared_address(shared)};
                of.multiply(sums);
                __syncthreads();
                of.add_blocks(sums, arguments.block_scores);
                __syncthreads();  // the sums have been read
            }
        }

        // A tile of groups of queries.
        struct TileOf {
            const Problem& problem;
            const HeadRowsOf& rows;
            int b, h, first_group;
            unsigned shared;

            __device__ QueryTile query_tile(int step) const { return {shared + static_cast<unsigned>(step % 2 * kStageBytes)}; }
            __device__ KeyTile key_tile(int step) const { return {query_tile(step).base + QueryTile::kBytes}; }

            // Groups of keys that a group of queries, or one before it, may see.
            __device__ int visible_to(int group) const {
                const int last = least((group + 1) * kStride, rows.query_count) - 1;
                const int keys = Config::kCausal ? rows.key_count - rows.query_count + last + 1 : rows.key_count;
                return divide_up(largest(keys, 0), kStride);
            }

            __device__ void multiply(float* sums) const {
                const int steps = divide_up(visible_to(first_group + kRows - 1), kColumns) * kSteps;
                Fragment c;
                clear(c);
                if (steps > 0) load(0);
                ptx::commit_copies();
                for (int step = 0; step < steps; step++) {
                    if (step + 1 < steps) load(step + 1);
                    ptx::commit_copies();
                    ptx::wait_for_copies<1>();
                    __syncthreads();
                    const Tile<kWarpColumns, kSlice> keys{
                        key_tile(step).base + static_cast<unsigned>(warp_column() * KeyTile::kRowBytes)};
                    multiply_transposed<Element, kWarpRows / 16, kWarpColumns>(c, query_tile(step), warp_row(), keys);
                    __syncthreads();  // the stage has been read
                    if (step % kSteps != kSteps - 1) continue;
                    store(c, step / kSteps, sums);
                    clear(c);
                }
                ptx::wait_for_copies<0>();
            }

            static __device__ int warp_row() { return warp_id() / kWarpsAcross * kWarpRows; }
            static __device__ int warp_column() { return warp_id() % kWarpsAcross * kWarpColumns; }

            static __device__ void clear(Fragment& c) {
#pragma unroll
                for (int m = 0; m < kWarpRows / 16; m++)
#pragma unroll
                    for (int n = 0; n < kWarpColumns / 8; n++)
#pragma unroll
                        for (int e = 0; e < 4; e++) c[m][n][e] = 0;
            }

            // Starts the copies of a step: one row of each group, the queries' counted from the end of their group.
            __device__ void load(int step) const {
                const int first_column = step / kSteps * kColumns, row = step % kSteps / kSlices;
                const int slice = step % kSteps % kSlices;
                const auto* queries = static_cast<const unsigned char*>(problem.query);
                const long long query_head = problem.query_strides.at(b, h);
                copy(query_tile(step), slice, queries, [&](int group) -> const unsigned char* {
                    const int i = (first_group + group) * kStride + kStride - 1 - row;
                    if (i >= rows.query_count) return nullptr;
                    const long long offset = query_head + rows.query_row(i) * problem.query_strides.row;
                    return queries + offset * static_cast<long long>(sizeof(Element));
                });
                const auto* keys = static_cast<const unsigned char*>(problem.key);
                const long long key_head = problem.key_strides.at(b, problem.key_value_head(h));
                copy(key_tile(step), slice, keys, [&](int group) -> const unsigned char* {
                    const int j = (first_column + group) * kStride + row;
                    if (j >= rows.key_count) return nullptr;
                    const long long offset = key_head + rows.key_position(j) * problem.key_strides.row;
                    return keys + offset * static_cast<long long>(sizeof(Element));
                });
            }

            template <typename TileTo, typename RowOf>
            static __device__ void copy(const TileTo& tile, int slice, const unsigned char* any_valid, RowOf row_of) {
                constexpr int kRowsOfTile = TileTo::kBytes / TileTo::kRowBytes, kStep = kThreads / TileTo::kChunks;
                static_assert(kThreads % TileTo::kChunks == 0 && kRowsOfTile % kStep == 0);
                const int thread = ptx::recomputed(static_cast<int>(threadIdx.x)), chunk = thread % TileTo::kChunks;
                const int from_chunk = slice * TileTo::kChunks + chunk;
#pragma unroll 4
                for (int n = 0; n < kRowsOfTile / kStep; n++) {
                    const int row = thread / TileTo::kChunks + n * kStep;
                    const unsigned char* from = row_of(row);
                    const bool valid =
                        from != nullptr && (Config::kHeadDim == kDim || from_chunk < Config::kHeadDim / kChunkElements);
                    ptx::copy_chunk_async(tile.address(row, chunk), valid ? from + from_chunk * kChunkBytes : any_valid, valid);
                }
            }

            // Of the warp's part of C, the sums over key blocks.
            __device__ void store(Fragment& c, int column_tile, float* sums) const {
                const float factor = problem.scale * (kLog2E / kStride);
                const int column = column_tile * kColumns + warp_column();
                const int first_row = ptx::recomputed(warp_row() + lane_id() / 4);
                const long long columns = columns_of(problem);
#pragma unroll
                for (int m = 0; m < kWarpRows / 16; m++) {
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const int row = first_row + 16 * m + 8 * half;
                        const int visible = visible_to(first_group + row) - column - 2 * (lane_id() % 4);
                        float highest = -kInfinity;
#pragma unroll
                        for (int n = 0; n < kWarpColumns / 8; n++)
#pragma unroll
                            for (int e = 0; e < 2; e++) {
                                float& value = c[m][n][2 * half + e];
                                value = 8 * n + e < visible ? value * factor : -kInfinity;
                                highest = fmaxf(highest, value);
                            }
                        highest = row_max(highest);
                        const float origin = highest == -kInfinity ? 0 : highest;
                        store_blocks(c[m], half, origin, sums + row * columns + column / kKeyGroups);
                    }
                }
            }

            // One row: four lanes share it, and each stores some of its blocks.
            static __device__ void store_blocks(const float (&c)[kWarpColumns / 8][4], int half, float origin, float* to) {
                const int lane = lane_id() % 4;
                const auto weight = [&](int n) {
                    return ptx::exp2(c[n][2 * half] - origin) + ptx::exp2(c[n][2 * half + 1] - origin);
                };
                if constexpr (kKeyGroups == 4) {  // two blocks to eight columns, two lanes to a block
#pragma unroll
                    for (int n = 0; n < kWarpColumns / 8; n++) {
                        float sum = weight(n);
                        sum += __shfl_xor_sync(kAllLanes, sum, 1);
                        if (lane % 2 == 0) to[2 * n + lane / 2] = origin + log2f(sum);
                    }
                } else {
                    constexpr int kFragments = kKeyGroups / 8;
#pragma unroll
                    for (int block = 0; block < kWarpBlocks; block++) {
                        float sum = 0;
#pragma unroll
                        for (int i = 0; i < kFragments; i++) sum += weight(block * kFragments + i);
                        sum = row_sum(sum);
                        if (lane == block % 4) to[block] = origin + log2f(sum);
                    }
                }
            }

            // score[i] of the tile's query blocks, one to a warp.
            __device__ void add_blocks(const float* sums, float* block_scores) const {
                for (int i = warp_id(); i < kRows / kQueryGroups; i += kThreads / kWarp) {
                    const int index = first_group / kQueryGroups + i;
                    const QueryBlock<Config> block(rows, index);
                    if (block.is_empty()) return;
                    const int groups = divide_up(block.end - block.begin, kStride);
                    const long long columns = columns_of(problem);
                    const float* from = sums + i * kQueryGroups * columns;
                    float whole[kQueryGroups];  // log2 of the sum of 2^C over all keys
#pragma unroll
                    for (int m = 0; m < kQueryGroups; m++)
                        whole[m] = m < groups ? log2_of_sum(from + m * columns, block.key_blocks) : kInfinity;
                    float* to = block_scores + BlockScores<Config>::place(problem, b, h, index);
                    for (int j = lane_id(); j < block.key_blocks; j += kWarp) {
                        float sum = 0;
#pragma unroll
                        for (int m = 0; m < kQueryGroups; m++)
                            if (m < groups) sum += ptx::exp2(from[m * columns + j] - whole[m]);
                        to[j] = sum / static_cast<float>(groups);
                    }
                }
            }

            // log2 of the sum of 2^values[j]; 0 where all are -inf. A whole warp calls it.
            static __device__ float log2_of_sum(const float* values, int count) {
                float highest = -kInfinity;
                for (int j = lane_id(); j < count; j += kWarp) highest = fmaxf(highest, values[j]);
                highest = warp_reduce(highest, [](float a, float b) { return fmaxf(a, b); });
                if (highest == -kInfinity) return 0;
                float sum = 0;
                for (int j = lane_id(); j < count; j += kWarp) sum += ptx::exp2(values[j] - highest);
                return highest + log2f(warp_reduce(sum, Sum{}));
            }
        };
    };

    struct Select {
        static constexpr int kThreads = 256;
        static constexpr int kTile = kBlockQuery;
        using Choice = BlockChoice<kThreads>;
        static constexpr int kSharedBytes = sizeof(typename Choice::Shared);

        struct Arguments {
            const float* block_scores;
            BlockList block_list;
            double threshold;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<typename Choice::Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const HeadRowsOf rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty()) return;
            const BlockList& list = arguments.block_list;
            const float* scores = arguments.block_scores + BlockScores<Config>::place(problem, b, h, index);
            unsigned long long* visit = list.visit_of(list.row(b, h), index);
            const auto is_forced = [&](int j) { return j == 0 || block.holds_diagonal(j); };
            bool every = list.dense_heads.has(h);
            if (!every) {
                unsigned long long total = 0, forced = 0;
                unsigned long long finite = 1;
                for (int j = static_cast<int>(threadIdx.x); j < block.key_blocks; j += kThreads) {
                    const unsigned long long mass = fixed_mass(scores[j]);
                    total += mass;
                    forced += is_forced(j) ? mass : 0;
                    finite &= is_finite(scores[j]);
                }
                total = block_reduce<kThreads>(total, shared.sums, Sum{});
                forced = block_reduce<kThreads>(forced, shared.sums, Sum{});
                finite = block_reduce<kThreads>(
                    finite, shared.sums, [](unsigned long long p, unsigned long long q) { return p & q; });
                every = finite == 0;
                if (!every) {  // the words of the list hold the choice until they are written whole
                    const auto other = [&](int j) { return is_forced(j) ? 0.0f : scores[j]; };
                    const unsigned long long target = coverage_target(arguments.threshold, total);
                    const Cut cut = Choice::reaching(shared, block.key_blocks, target > forced ? target - forced : 0, other);
                    Choice::mark(shared, block.key_blocks, cut, other, visit);
                    __syncthreads();
                }
            }
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks,
                                                      [&](int j) { return every || is_forced(j) || has_bit(visit, j); });
        }
    };
};

}  // namespace attn
