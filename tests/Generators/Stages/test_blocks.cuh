// A block selector for tests, written to be read: every query block visits the first kSink blocks and the `local` ones up to its
// diagonal, of the rows that take part.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/block_list.cuh>

namespace attn {

// Config: kSink, and of the attention kernel kBlockQuery and kBlockKey.
template <typename Config, RowSource Rows, ScoreHook Score>
struct TestBlocks {
    static constexpr bool kColumns = false, kSlashes = false;

    struct Choose {
        static constexpr int kThreads = 128;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            BlockList block_list;
            int local;
        };

        static __device__ void run(const Problem& problem, const Rows& source, const Score&, const Arguments& arguments,
                                   unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const BlockList& list = arguments.block_list;
            const auto rows = source.rows(problem, sequence_of(problem, b), b, h);
            const long long row = list.row(b, h);
            const int query_blocks = divide_up(rows.query_count, Config::kBlockQuery);
            for (int index = static_cast<int>(threadIdx.x); index < query_blocks * list.words; index += kThreads) {
                const int query_block = index / list.words, word = index % list.words;
                const int last_query = least((query_block + 1) * Config::kBlockQuery, rows.query_count) - 1;
                const int diagonal = (last_query + rows.key_count - rows.query_count) / Config::kBlockKey;
                unsigned long long bits = 0;
                for (int bit = 0; bit < kWordBits; bit++) {
                    const int block = word * kWordBits + bit;
                    const bool visited = block < Config::kSink || block > diagonal - arguments.local;
                    if (visited && block <= diagonal) bits |= 1ull << bit;
                }
                list.visit_of(row, query_block)[word] = bits;
                list.partial_of(row, query_block)[word] = 0;
            }
        }
    };
};

}  // namespace attn
