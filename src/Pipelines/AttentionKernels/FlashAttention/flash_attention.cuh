// Attention without the matrix of scores: tiles of keys and values pass by, the softmax is rescaled as they do
// (FlashAttention, arXiv 2205.14135; the order of the loops is that of arXiv 2307.08691).
#pragma once

#include <attncompose/attention/main_loop.cuh>
#include <attncompose/attention/ruled_blocks.cuh>

namespace attn {

// Config: kHeadDim, kCausal, Element, Output. The hooks come between the problem and the arguments of the phase.
template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination>
struct FlashAttention {
    struct Attend {
        using Blocks = decltype(key_blocks_of<Config>(*static_cast<const Score*>(nullptr)));
        using Loop = MainLoop<Config, Rows, Score, Destination, Blocks>;
        struct Arguments {};

        static constexpr int kThreads = Loop::kThreads;
        static constexpr int kTile = Loop::kTile;
        static constexpr int kSharedBytes = Loop::kSharedBytes;

        static __device__ void run(const Problem& problem, const Rows& rows, const Score& score,
                                   const Destination& destination, const Arguments&, unsigned char* shared) {
            Loop::run(problem, rows, score, destination, key_blocks_of<Config>(score), shared);
        }
    };
};

}  // namespace attn
