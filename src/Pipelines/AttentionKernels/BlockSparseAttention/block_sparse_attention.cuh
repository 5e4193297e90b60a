// Attention over the key blocks of a list, in one online softmax with single columns and diagonals beside them. The order of
// the loops is that of arXiv 2307.08691.
#pragma once

#include <attncompose/attention/listed_blocks.cuh>
#include <attncompose/attention/main_loop.cuh>

namespace attn {

// Key blocks with the order in which the query tiles are taken up.
template <typename Blocks>
struct OrderedBlocks : Blocks {
    const int* tile_order;  // [batch, query_heads, tiles, 2]: tile, and the key block that its walk begins with, or -1

    __device__ TilePlace place_of(const Problem& problem, int b, int h, int rank, int tiles) const {
        const long long place = (static_cast<long long>(b) * problem.query_heads + h) * tiles + rank;
        const int2 found = reinterpret_cast<const int2*>(tile_order)[place];
        return {found.x, found.y};
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
            int *tile_lengths, *tile_order;  // [batch, query_heads, tiles, 2]
        };

        static constexpr int kThreads = 512, kTile = 1, kSharedBytes = 0;

        static __device__ void run(const Problem& problem, const Rows& source, const Blocks& blocks, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int tiles = divide_up(problem.query_length, MainLoop::kTile);
            const long long first = (static_cast<long long>(b) * problem.query_heads + h) * tiles;
            auto* lengths = reinterpret_cast<int2*>(arguments.tile_lengths) + first;
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            for (int tile = warp_id(); tile < tiles; tile += kThreads / kWarp) {
                const int2 found = visited(rows, blocks.block_list, b, h, tile * MainLoop::kTile);
                if (lane_id() == 0) lengths[tile] = found;
            }
            __syncthreads();
            for (int tile = static_cast<int>(threadIdx.x); tile < tiles; tile += kThreads) {
                const int length = lengths[tile].x;
                int rank = 0;
                for (int other = 0; other < tiles; other++) {
                    const int others = lengths[other].x;
                    rank += others > length || (others == length && other > tile) ? 1 : 0;
                }
                reinterpret_cast<int2*>(arguments.tile_order)[first + rank] = make_int2(tile, lengths[tile].y);
            }
        }

        // How many key blocks the tile from query `begin` on visits, up to its diagonal, and the last one; -1 where there is no query, or
        // no block.
        template <typename HeadRows>
        static __device__ int2 visited(const HeadRows& rows, const BlockList& list, int b, int h, int begin) {
            constexpr int kBlockQuery = Config::kBlockQuery, kBlockKey = Config::kBlockKey;
            const int end = least(begin + MainLoop::kTile, rows.query_count);
            if (begin >= end) return make_int2(-1, -1);
            const int keys = Config::kCausal ? end + rows.key_count - rows.query_count : rows.key_count;
            const int blocks = divide_up(largest(keys, 0), kBlockKey);
            int count = 0, last = -1;
            for (int word = lane_id(); word * kWordBits < blocks; word += kWarp) {
                unsigned long long bits = 0;
                for (int block = begin / kBlockQuery; block * kBlockQuery < end; block++)
                    bits |= list.visit_of(list.row(b, h), block)[word];
                const int beyond = (word + 1) * kWordBits - blocks;
                if (beyond > 0) bits &= ~0ull >> beyond;
                count += __popcll(bits);
                if (bits != 0) last = word * kWordBits + 63 - __clzll(static_cast<long long>(bits));
            }
#pragma unroll
            for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
                count += __shfl_xor_sync(kAllLanes, count, lanes);
                last = largest(last, __shfl_xor_sync(kAllLanes, last, lanes));
            }
            return make_int2(count, last);
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
