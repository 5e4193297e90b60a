// Block selector: the columns and diagonals that a head's last queries attend to most (MInference, arXiv 2407.02490).
//
//   columns[j], slashes[o]   of the last kLastQueries queries' map (block_lists/window_map.cuh)
//   vertical                 the max(vertical_size, forced_vertical) highest columns, the first forced_vertical among them;
//                            single keys of the list
//   slash                    the max(slash_size, forced_slash) highest diagonals, the first forced_slash among them; a query
//                            block visits the key blocks that they cross
#pragma once

#include <attncompose/block_lists/block_choice.cuh>
#include <attncompose/block_lists/query_block.cuh>
#include <attncompose/block_lists/window_map.cuh>

namespace attn {

// Config: kHeadDim, Element, kBlockQuery, kBlockKey, kCausal, kLastQueries.
template <typename Config, typename Rows, typename Score>
struct VerticalSlash {
    static constexpr bool kColumns = true, kSlashes = false;

    using Map = WindowMap<Config, Config::kLastQueries, Rows, Score>;
    using RowPartials = typename Map::RowPartials;
    using RowStats = typename Map::RowStats;
    using Sums = typename Map::Sums;

    static __device__ int slash_words(const Problem& problem) { return divide_up(problem.key_length, kWordBits); }

    struct Choose {
        static constexpr int kThreads = 512;
        static constexpr int kTile = 1;
        using Choice = BlockChoice<kThreads>;
        static constexpr int kSharedBytes = sizeof(typename Choice::Shared);

        struct Arguments {
            const float *columns, *diagonals;
            BlockList block_list;
            unsigned long long* slash_set;  // [batch, query heads, slash words]: bit o is a chosen diagonal
            int vertical_size, slash_size, forced_vertical, forced_slash;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char* shared_bytes) {
            auto& shared = *reinterpret_cast<typename Choice::Shared*>(shared_bytes);
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const long long head = Map::head_of(problem, b, h), row = arguments.block_list.row(b, h);
            if (rows.query_count <= 0 || arguments.block_list.dense_heads.has(h)) {
                if (threadIdx.x == 0) arguments.block_list.column_count[row] = 0;
                return;
            }
            const int keys = rows.key_count;
            const float* columns = arguments.columns + head * problem.key_length;
            const auto column = [&](int j) { return j < arguments.forced_vertical ? kInfinity : columns[j]; };
            Cut cut = Choice::highest(shared, keys, largest(arguments.vertical_size, arguments.forced_vertical), column);
            Choice::collect(shared, keys, cut, column, arguments.block_list.columns_of(row));
            if (threadIdx.x == 0) arguments.block_list.column_count[row] = cut.kept;

            const float* diagonals = arguments.diagonals + head * Map::tiles_of(problem) * Map::kDiagonals;
            const int window = Map::window_rows(rows);
            const auto slash = [&](int o) {
                return o < arguments.forced_slash ? kInfinity : Map::slash(diagonals, keys, window, o);
            };
            cut = Choice::highest(shared, keys, largest(arguments.slash_size, arguments.forced_slash), slash);
            Choice::mark(shared, keys, cut, slash, arguments.slash_set + head * slash_words(problem));
        }
    };

    struct Select {
        static constexpr int kThreads = 128;
        static constexpr int kTile = Config::kBlockQuery;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const unsigned long long* slash_set;
            BlockList block_list;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int index = static_cast<int>(blockIdx.x);
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const QueryBlock<Config> block(rows, index);
            if (block.is_empty()) return;
            const unsigned long long* set = arguments.slash_set + Map::head_of(problem, b, h) * slash_words(problem);
            const BlockList& list = arguments.block_list;
            const bool dense = list.dense_heads.has(h);
            write_visits<kThreads, !Score::kIdentity>(list, list.row(b, h), index, block.key_blocks, [&](int j) {
                const int first_key = j * Config::kBlockKey;
                const int last_key = least(first_key + Config::kBlockKey, rows.key_count) - 1;
                return dense || any_bit(set, block.first_diagonal - last_key, block.last_diagonal - first_key, rows.key_count);
            });
        }
    };
};

}  // namespace attn
