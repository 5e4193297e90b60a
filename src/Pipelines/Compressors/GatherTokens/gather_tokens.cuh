// Row source: the tokens that a query head keeps, as one shorter sequence (Token Sparse Attention, arXiv 2602.03216). The main
// loop copies their rows at their positions, or keys and values are gathered ahead of it.
#pragma once

#include <attncompose/attention/hooks.cuh>

namespace attn {

// Queries and keys share the ascending positions, so the compressed problem is causal exactly where the original one
// is.
__device__ inline HeadRows<true> selected_rows(const TokenIndex& token_index, const Problem& problem, Sequence sequence, int b,
                                               int h) {
    const long long row = token_index.row(problem, b, h);
    const int keys = token_index.key_count[row];
    return {keys, keys - token_index.query_begin[row], sequence.first_query(), token_index.positions_of(row)};
}

template <typename Config>
struct GatherTokens {
    static constexpr bool kIndexed = true;

    TokenIndex token_index;

    __device__ HeadRows<true> rows(const Problem& problem, Sequence sequence, int b, int h) const {
        return selected_rows(token_index, problem, sequence, b, h);
    }

    // Copies the selected rows of key and value side by side, and rows of zeroes after them. All rows of a block are on their
    // way before the first is stored.
    struct Gather {
        using Element = typename Config::Element;
        static constexpr int kThreads = 256;
        static constexpr int kTile = 64;
        static constexpr int kSharedBytes = 0;
        static constexpr int kRowChunks = Config::kHeadDim / kChunkElements;
        static constexpr int kCopies = divide_up(kTile * kRowChunks, kThreads);

        struct Arguments {
            HeadRange heads;
            TokenIndex token_index;
            Element *gathered_key, *gathered_value;  // [heads.count, key length, head dim]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            // Neighbouring blocks have the same rows of neighbouring heads, which often keep the same tokens of one key.
            const int index = static_cast<int>(blockIdx.x + gridDim.x * blockIdx.y);
            const int slot = index % arguments.heads.count, begin = index / arguments.heads.count * kTile;
            const int head = arguments.heads.first + slot;
            const int b = head / problem.query_heads, g = problem.key_value_head(head % problem.query_heads);
            const int count = arguments.token_index.key_count[head];
            const int end = least(count + kMostKeyTile - 1, problem.key_length);
            if (begin >= end) return;

            const int* positions = arguments.token_index.positions_of(head);
            const auto* keys = static_cast<const Element*>(problem.key) + problem.key_strides.at(b, g);
            const auto* values = static_cast<const Element*>(problem.value) + problem.value_strides.at(b, g);
            Chunk key[kCopies] = {}, value[kCopies] = {};
#pragma unroll
            for (int n = 0; n < kCopies; n++) {
                const int i = n * kThreads + static_cast<int>(threadIdx.x), j = begin + i / kRowChunks;
                if (i >= kTile * kRowChunks || j >= count) continue;
                const long long position = positions[j];
                key[n] = reinterpret_cast<const Chunk*>(keys + position * problem.key_strides.row)[i % kRowChunks];
                value[n] = reinterpret_cast<const Chunk*>(values + position * problem.value_strides.row)[i % kRowChunks];
            }
            const long long to = (static_cast<long long>(slot) * problem.key_length + begin) * kRowChunks;
            auto* to_key = reinterpret_cast<Chunk*>(arguments.gathered_key) + to;
            auto* to_value = reinterpret_cast<Chunk*>(arguments.gathered_value) + to;
#pragma unroll
            for (int n = 0; n < kCopies; n++) {
                const int i = n * kThreads + static_cast<int>(threadIdx.x), j = begin + i / kRowChunks;
                if (i >= kTile * kRowChunks || j >= end) continue;
                to_key[i] = key[n];
                to_value[i] = value[n];
            }
        }
    };
};

// The same rows once Gather has run: queries at their positions, keys and values by tensor maps of the copies.
template <typename Config>
struct GatheredTokens {
    static constexpr bool kIndexed = true;

    HeadRange heads;
    TokenIndex token_index;
    const TensorMaps* maps;

    __device__ HeadRows<true> rows(const Problem& problem, Sequence sequence, int b, int h) const {
        return selected_rows(token_index, problem, sequence, b, h);
    }
};

}  // namespace attn
