// Attention over the key blocks of a list, in one online softmax with single columns and diagonals beside them. The order of
// the loops is that of arXiv 2307.08691.
#pragma once

#include <attncompose/attention/listed_blocks.cuh>
#include <attncompose/attention/main_loop.cuh>

namespace attn {

// Key blocks with the order in which the query tiles are taken up.
template <typename Blocks>
struct OrderedBlocks : Blocks {
    const int* tile_order;  // [batch, query_heads, tiles]

    __device__ int tile_of(const Problem& problem, int b, int h, int rank, int tiles) const {
        return tile_order[(static_cast<long long>(b) * problem.query_heads + h) * tiles + rank];
    }
};

// Config: kHeadDim, kCausal, Element, Output, kBlockQuery, kBlockKey. The hooks come between the problem and the arguments of
// a phase.
template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination, typename Blocks>
struct BlockSparseAttention {
    using MainLoop = attn::MainLoop<Config, Rows, Score, Destination, OrderedBlocks<Blocks>>;

    // The query tiles of a head, those that visit most key blocks first, so that none of them is left over at the end. Equal
    // ones by their number, the last first.
    struct Order {
        struct Arguments {
            int *tile_lengths, *tile_order;  // [batch, query_heads, tiles]
        };

        static constexpr int kThreads = 512, kTile = 1, kSharedBytes = 0;

        static __device__ void run(const Problem& problem, const Rows& source, const Blocks& blocks, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int tiles = divide_up(problem.query_length, MainLoop::kTile);
            const long long first = (static_cast<long long>(b) * problem.query_heads + h) * tiles;
            int* lengths = arguments.tile_lengths + first;
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            for (int tile = warp_id(); tile < tiles; tile += kThreads / kWarp) {
                const int length = visited(rows, blocks.block_list, b, h, tile * MainLoop::kTile);
                if (lane_id() == 0) lengths[tile] = length;
            }
            __syncthreads();
            for (int tile = static_cast<int>(threadIdx.x); tile < tiles; tile += kThreads) {
                const int length = lengths[tile];
                int rank = 0;
                for (int other = 0; other < tiles; other++) {
                    const int others = lengths[other];
                    rank += others > length || (others == length && other > tile) ? 1 : 0;
                }
                arguments.tile_order[first + rank] = tile;
            }
        }

        // Key blocks that the tile from query `begin` on visits, up to its diagonal; -1 where it has no query.
        template <typename HeadRows>
        static __device__ int visited(const HeadRows& rows, const BlockList& list, int b, int h, int begin) {
            constexpr int kBlockQuery = Config::kBlockQuery, kBlockKey = Config::kBlockKey;
            const int end = least(begin + MainLoop::kTile, rows.query_count);
            if (begin >= end) return -1;
            const int keys = Config::kCausal ? end + rows.key_count - rows.query_count : rows.key_count;
            const int blocks = divide_up(largest(keys, 0), kBlockKey);
            int count = 0;
            for (int word = lane_id(); word * kWordBits < blocks; word += kWarp) {
                unsigned long long bits = 0;
                for (int block = begin / kBlockQuery; block * kBlockQuery < end; block++)
                    bits |= list.visit_of(list.row(b, h), block)[word];
                const int beyond = (word + 1) * kWordBits - blocks;
                count += __popcll(beyond > 0 ? bits << beyond : bits);
            }
#pragma unroll
            for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) count += __shfl_xor_sync(kAllLanes, count, lanes);
            return count;
        }
    };

    struct Attend {
        using Loop = MainLoop;
        struct Arguments {
            const int* tile_order;
        };

        static constexpr int kThreads = Loop::kThreads;
        static constexpr int kTile = Loop::kTile;
        static constexpr int kSharedBytes = Loop::kSharedBytes;

        static __device__ void run(const Problem& problem, const Rows& rows, const Score& score, const Destination& destination,
                                   const Blocks& blocks, const Arguments& arguments, unsigned char* shared) {
            Loop::run(problem, rows, score, destination, OrderedBlocks<Blocks>{blocks, arguments.tile_order}, shared);
        }
    };
};

}  // namespace attn
