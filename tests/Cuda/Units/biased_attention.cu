#include <attncompose/stages/AttnCompose.Pipelines/flash_attention.cuh>
#include <attncompose/stages/AttnCompose.Pipelines/gather_tokens.cuh>
#include <attncompose/stages/AttnCompose.Pipelines/scatter_tokens.cuh>

struct Config {
    static constexpr int kHeadDim = ATTNCOMPOSE_HEAD_DIM;
    static constexpr bool kCausal = true;
    using Element = ATTNCOMPOSE_ELEMENT;
    using Output = ATTNCOMPOSE_OUTPUT;
};

// Score rule: attention falls off with distance. Mask rule: a query sees its own document.
struct Score {
    static constexpr bool kIdentity = false, kMasks = true, kChanges = true, kHasSink = false;

    float slope;
    const int* document;  // [key length]

    __device__ bool hides(const attn::ScorePosition& at) const { return document[at.query] != document[at.key]; }
    __device__ float change(float score, const attn::ScorePosition& at) const { return score - slope * at.distance; }
    __device__ float apply(float score, const attn::ScorePosition& at) const {
        return hides(at) ? -attn::kInfinity : change(score, at);
    }
    __device__ float sink(const attn::ScorePosition&) const { return -attn::kInfinity; }
};
using RowSource = attn::GatherTokens<Config>;
using Destination = attn::ScatterTokens<Config>;
using FlashAttention = attn::FlashAttention<Config, RowSource, Score, Destination>;

// FlashAttention.attend: gather, score, tiled online softmax, scatter.
extern "C" __global__ void __launch_bounds__(FlashAttention::Attend::kThreads, 1)
    biased_attention_attend(const __grid_constant__ attn::Problem problem, const attn::TokenIndex token_index,
                            float slope, const int* document) {
    extern __shared__ __align__(1024) unsigned char shared[];
    FlashAttention::Attend::run(problem, RowSource{.token_index = token_index},
                                Score{.slope = slope, .document = document}, Destination{.token_index = token_index},
                                {}, shared);
}
extern "C" __device__ attn::LaunchShape biased_attention_attend_shape = attn::shape_of<FlashAttention::Attend>();

// The same over keys and values that were gathered ahead: positions are read where a rule asks for them.
using GatheredRowSource = attn::GatheredTokens<Config>;
using GatheredAttention = attn::FlashAttention<Config, GatheredRowSource, Score, Destination>;

extern "C" __global__ void __launch_bounds__(GatheredAttention::Attend::kThreads, 1)
    biased_attention_attend_gathered(const __grid_constant__ attn::Problem problem, const attn::HeadRange heads,
                                     const attn::TokenIndex token_index, const __grid_constant__ attn::TensorMaps maps,
                                     float slope, const int* document) {
    extern __shared__ __align__(1024) unsigned char shared[];
    GatheredAttention::Attend::run(problem, GatheredRowSource{.heads = heads, .token_index = token_index, .maps = &maps},
                                   Score{.slope = slope, .document = document}, Destination{.token_index = token_index},
                                   {}, shared);
}
extern "C" __device__ attn::LaunchShape biased_attention_attend_gathered_shape =
    attn::shape_of<GatheredAttention::Attend>();
