// Block selector of FlexPrefill (arXiv 2502.20766): each head finds out by itself which of two patterns it follows, and how much
// of it covers a share `gamma` of its attention.
//
//   B                        key block (kBlockKey); window: the last kBlockQuery queries
//   columns[j], slashes[o]   of the window's map (block_lists/window_map.cuh)
//   truth[j]                 sum of columns over key block j
//   estimate[j]              softmax over j of scale mean(window) . mean(K_j)
//   kind                     1, query-aware, where the Jensen-Shannon distance of truth and estimate is below tau; else 0
//   vertical                 with n the fewest columns that hold gamma of them: the max(ceil(n / B), least) highest truth[j];
//                            `fewest` are the n of columns and slashes, whatever the kind
//   slash                    the same of slashes: band u is the diagonals [u B, (u + 1) B); a query block visits the key blocks
//                            that a chosen band crosses
//   map                      of a query-aware head: attention between block means (block_lists/pooled_rows.cuh), of which the
//                            fewest pairs that hold gamma are visited; there n is 0 above
//   least                    ceil(min_budget / B)
//
// The first key block and the diagonal are always visited. A head whose scores are not finite visits everything.
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/coverage_count.cuh>
#include <attncompose/block_lists/pooled_rows.cuh>
#include <attncompose/block_lists/query_block.cuh>
#include <attncompose/block_lists/window_map.cuh>

namespace attn {

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal.
template <typename Config, typename Rows, typename Score>
struct FlexPrefill {
    static constexpr bool kColumns = false, kSlashes = false;
    static constexpr int kBlockKey = Config::kBlockKey, kBlockQuery = Config::kBlockQuery;

    using Map = WindowMap<Config, kBlockQuery, Rows, Score>;
    using PoolKeys = PooledKeys<Config, Rows, Score>;
    using RowPartials = typename Map::RowPartials;
    using RowStats = typename Map::RowStats;
    using Sums = typename Map::Sums;

    // What a head follows; the words of its two sets lie behind each other.
    enum Kind { kVerticalSlash = 0, kQueryAware = 1, kEverything = 2 };

    static __device__ int key_blocks_of(const Problem& problem) { return divide_up(problem.key_length, kBlockKey); }
    static __device__ int words_of(const Problem& problem) { return divide_up(key_blocks_of(problem), kWordBits); }
    static __device__ int query_blocks_of(const Problem& problem) { return divide_up(problem.query_length, kBlockQuery); }

    // The map of a head: rows of as many columns as it has key blocks.
    static __device__ float* map_of(float* map, const Problem& problem, long long head) {
        return map + head * query_blocks_of(problem) * key_blocks_of(problem);
    }

    // A team for the columns of a head, and one for its slashes.
    struct Cover {
        static constexpr int kThreads = 1024;
        static constexpr int kTile = 1;
        static constexpr bool kWaits = true;
        using Columns = CoverageCount<const float*>;
        using Slashes = CoverageCount<typename Map::Slashes>;
        static constexpr int kTeam = Team::kMostBlocks;
        static constexpr int kHeldKeys = Columns::Keys::kMost;
        static constexpr int kSharedBytes = sizeof(typename Columns::Shared);
        static_assert(sizeof(typename Slashes::Shared) == kSharedBytes && Columns::kThreads == kThreads);

        struct Arguments {
            const float *columns, *diagonals;
            float* block_scores;  // [batch, query heads, 3, key blocks]: truth, estimate, bands
            int* fewest;          // [batch, query heads, 2]: columns and slashes that hold gamma
            double gamma;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared) {
            wait_for_earlier_kernels();
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y) / 2;
            const long long head = Map::head_of(problem, b, h);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            if (rows.query_count <= 0 || rows.key_count == 0) return;
            float* truth = arguments.block_scores + head * 3 * key_blocks_of(problem);
            if (blockIdx.y % 2 == 0) {
                const float* columns = arguments.columns + head * problem.key_length;
                cover<Columns>(columns, rows.key_count, arguments.gamma, truth, arguments.fewest + 2 * head, shared);
            } else {
                const float* diagonals = arguments.diagonals + head * Map::tiles_of(problem) * Map::kDiagonals;
                const typename Map::Slashes slashes{diagonals, rows.key_count, Map::window_rows(rows), 0};
                float* bands = truth + 2 * key_blocks_of(problem);
                cover<Slashes>(slashes, rows.key_count, arguments.gamma, bands, arguments.fewest + 2 * head + 1, shared);
            }
        }

        // Sums of the key blocks that begin in the run of this block, and the count.
        template <typename Count, typename Scores>
        static __device__ void cover(const Scores& scores, int count, double gamma, float* sums, int* fewest,
                                     unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<typename Count::Shared*>(shared_bytes);
            const Team team = Team::of_block();
            const Run run(team, count);
            const int end = divide_up(run.begin + run.count, kBlockKey);
            for (int j = divide_up(run.begin, kBlockKey) + warp_id(); j < end; j += kThreads / kWarp) {
                const float sum = block_sum(scores + j * kBlockKey, least(kBlockKey, count - j * kBlockKey));
                if (lane_id() == 0) sums[j] = sum;
            }
            const typename Count::Keys keys(scores, run, shared_bytes + kSharedBytes);
            const int kept = Count::of(keys, team, gamma, shared);
            if (team.rank == 0 && threadIdx.x == 0) *fewest = kept;
        }

        // A whole warp calls it.
        template <typename Scores>
        static __device__ float block_sum(const Scores& scores, int count) {
            float sum = 0;
#pragma unroll
            for (int i = 0; i < kBlockKey; i += kWarp) sum += i + lane_id() < count ? scores[i + lane_id()] : 0;
            return warp_reduce(sum, Sum{});
        }
    };

    struct Choose {
        static constexpr int kThreads = 512;
        static constexpr int kTile = 1;
        static constexpr bool kWaits = true;
        using Choice = BlockChoice<kThreads>;
        using Means = PooledRows<Config, kThreads>;

        struct Shared {
            typename Choice::Shared choice;
            float query[Config::kHeadDim];
            float sums[kThreads / kWarp];
        };
        static constexpr int kMeanBytes = Means::kSharedFloats * static_cast<int>(sizeof(float));
        static constexpr int kSharedBytes = static_cast<int>(sizeof(Shared)) + kMeanBytes;

        struct Arguments {
            const float* pooled_keys;
            const int* fewest;
            float* block_scores;
            unsigned long long* sets;  // [batch, query heads, 2, words]: vertical blocks, slash bands
            int* kinds;                // [batch, query heads]
            double tau;
            int min_budget;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
            auto* scratch = reinterpret_cast<float*>(shared_bytes + sizeof(Shared));
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const long long head = Map::head_of(problem, b, h);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const bool is_empty = rows.query_count <= 0 || rows.key_count == 0;
            const int blocks = divide_up(rows.key_count, kBlockKey), window = Map::window_rows(rows);
            const float* truth = arguments.block_scores + head * 3 * key_blocks_of(problem);
            float* estimate = arguments.block_scores + (head * 3 + 1) * key_blocks_of(problem);
            const float* bands = estimate + key_blocks_of(problem);
            if (!is_empty) {
                // Beside `cover`, which let this kernel start when all those before had ended, and writes nothing of this.
                Means::mean_query(problem, rows, b, h, rows.query_count - window, rows.query_count, scratch, shared.query);
                Means::map_row(shared.query, arguments.pooled_keys + PoolKeys::place(problem, b, h), blocks, problem.scale,
                               shared.sums, estimate);
            }
            wait_for_earlier_kernels();
            if (is_empty) return;
            if (!Means::is_finite_row(blocks, shared.sums, truth)) {
                if (threadIdx.x == 0) arguments.kinds[head] = kEverything;
                return;
            }
            const bool aware = static_cast<double>(distance(truth, estimate, blocks, shared.sums)) < arguments.tau;
            if (threadIdx.x == 0) arguments.kinds[head] = aware ? kQueryAware : kVerticalSlash;
            unsigned long long* sets = arguments.sets + head * 2 * words_of(problem);
            const int least_blocks = divide_up(arguments.min_budget, kBlockKey);
            const auto mark = [&](const float* scores, int fewest, unsigned long long* set) {
                const int wanted = largest(aware ? 0 : divide_up(fewest, kBlockKey), least_blocks);
                Choice::mark_highest(shared.choice, blocks, wanted, [=](int j) { return scores[j]; }, set);
            };
            mark(truth, arguments.fewest[2 * head], sets);
            mark(bands, arguments.fewest[2 * head + 1], sets + words_of(problem));
        }

        // Jensen-Shannon distance in natural units: the root of the mean divergence of two distributions from their mean.
        static __device__ float distance(const float* p, const float* q, int count, float* sums) {
            float sum = 0;
            for (int j = static_cast<int>(threadIdx.x); j < count; j += kThreads)
                sum += divergence(p[j], q[j]) + divergence(q[j], p[j]);
            sum = block_reduce<kThreads>(sum, sums, Sum{});
            return sqrtf(fmaxf(sum / 2, 0));
        }

        // p log(p / ((p + q) / 2)).
        static __device__ float divergence(float p, float q) { return p > 0 ? p * logf(2 * p / (p + q)) : 0; }
    };

    // A row of the map of a query-aware head.
    struct MapRows {
        static constexpr int kThreads = 256;
        static constexpr int kTile = kBlockQuery;
        using Means = PooledRows<Config, kThreads>;

        struct Shared {
            float query[Config::kHeadDim];
            float sums[kThreads / kWarp];
            float scratch[Means::kSharedFloats];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const int* kinds;
            const float* pooled_keys;
            float* map;  // [batch, query heads, query blocks * key blocks]
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const long long head = Map::head_of(problem, b, h);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty() || rows.key_count == 0 || arguments.kinds[head] != kQueryAware) return;
            Means::mean_query(problem, rows, b, h, block.begin, block.end, shared.scratch, shared.query);
            const int blocks = divide_up(rows.key_count, kBlockKey);
            float* row = map_of(arguments.map, problem, head) + static_cast<long long>(index) * blocks;
            Means::map_row(shared.query, arguments.pooled_keys + PoolKeys::place(problem, b, h), block.key_blocks,
                           problem.scale, shared.sums, row);
            for (int j = block.key_blocks + static_cast<int>(threadIdx.x); j < blocks; j += kThreads) row[j] = 0;
        }
    };

    // Where the map of a query-aware head is cut: over all its pairs, equal ones by query block, then by key block.
    struct CutMap {
        static constexpr int kThreads = 512;
        static constexpr int kTile = 1;
        using Choice = BlockChoice<kThreads>;

        struct Shared {
            typename Choice::Shared choice;
            int ties[kThreads];
        };
        static constexpr int kSharedBytes = sizeof(Shared);

        struct Arguments {
            const int* kinds;
            const float* map;
            unsigned* map_cuts;  // [batch, query heads]: key of the cut
            int* map_ties;       // [batch, query heads, query blocks]: how many equal ones are left for a row and those below it
            double gamma;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const long long head = Map::head_of(problem, b, h);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            if (rows.query_count <= 0 || rows.key_count == 0 || arguments.kinds[head] != kQueryAware) return;
            const int blocks = divide_up(rows.key_count, kBlockKey), query_blocks = divide_up(rows.query_count, kBlockQuery);
            const float* map = map_of(const_cast<float*>(arguments.map), problem, head);
            const auto pair = [&](int i) { return map[i]; };
            const Cut cut = Choice::covering(shared.choice, query_blocks * blocks, arguments.gamma, pair);

            // Each thread owns a run of rows: it counts their ties, and learns how many are above them.
            const int run = divide_up(query_blocks, kThreads);
            const int begin = least(static_cast<int>(threadIdx.x) * run, query_blocks), end = least(begin + run, query_blocks);
            int* ties = arguments.map_ties + head * query_blocks_of(problem);
            for (int i = warp_id(); i < query_blocks; i += kThreads / kWarp) {
                int tied = 0;
                for (int j = lane_id(); j < blocks; j += kWarp)
                    tied += rank_key(map[static_cast<long long>(i) * blocks + j]) == cut.key;
                tied = warp_reduce(tied, Sum{});
                if (lane_id() == 0) ties[i] = tied;
            }
            __syncthreads();
            int own = 0;
            for (int i = begin; i < end; i++) own += ties[i];
            shared.ties[threadIdx.x] = own;
            __syncthreads();
            int left = cut.ties;
            for (int thread = 0; thread < static_cast<int>(threadIdx.x); thread++) left -= shared.ties[thread];
            for (int i = begin; i < end; i++) {
                const int tied = ties[i];
                ties[i] = largest(left, 0);
                left -= tied;
            }
            if (threadIdx.x == 0) arguments.map_cuts[head] = cut.key;
        }
    };

    struct Select {
        static constexpr int kThreads = 256;
        static constexpr int kTile = kBlockQuery;
        using Choice = BlockChoice<kThreads>;
        static constexpr int kSharedBytes = sizeof(typename Choice::Shared);

        struct Arguments {
            const int* kinds;
            const unsigned long long* sets;
            const float* map;
            const unsigned* map_cuts;
            const int* map_ties;
            BlockList block_list;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<typename Choice::Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const long long head = Map::head_of(problem, b, h);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty()) return;
            const BlockList& list = arguments.block_list;
            const bool every = rows.key_count == 0 || list.dense_heads.has(h);
            const int kind = every ? static_cast<int>(kEverything) : arguments.kinds[head];
            const int blocks = divide_up(rows.key_count, kBlockKey);
            unsigned long long* visit = list.visit_of(list.row(b, h), index);
            if (kind == kQueryAware) {  // the words of the list hold the map's choice until they are written whole
                const float* map = map_of(const_cast<float*>(arguments.map), problem, head);
                const float* row = map + static_cast<long long>(index) * blocks;
                const Cut cut{arguments.map_cuts[head], arguments.map_ties[head * query_blocks_of(problem) + index], 0};
                Choice::mark(shared, blocks, cut, [&](int j) { return row[j]; }, visit);
                __syncthreads();
            }
            const unsigned long long* vertical = arguments.sets + head * 2 * words_of(problem);
            const unsigned long long* slash = vertical + words_of(problem);
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                if (kind == kEverything || j == 0 || block.holds_diagonal(j) || has_bit(vertical, j)) return true;
                if (kind == kQueryAware && has_bit(visit, j)) return true;
                // Bands of the diagonals between the block's queries and keys; below 0 lie keys that no query may see.
                const int first_key = j * kBlockKey, last_key = least(first_key + kBlockKey, rows.key_count) - 1;
                const int first = largest(block.first_diagonal - last_key, 0), last = block.last_diagonal - first_key;
                return last >= 0 && any_bit(slash, first / kBlockKey, last / kBlockKey, blocks);
            });
        }
    };
};

}  // namespace attn
