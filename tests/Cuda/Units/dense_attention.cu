#include <attncompose/stages/AttnCompose.Pipelines/flash_attention.cuh>

struct Config {
    static constexpr int kHeadDim = ATTNCOMPOSE_HEAD_DIM;
    static constexpr bool kCausal = true;
    using Element = ATTNCOMPOSE_ELEMENT;
    using Output = ATTNCOMPOSE_OUTPUT;
};
using RowSource = attn::DirectRows<Config>;
using Score = attn::NoScore;
using Destination = attn::DirectDestination<Config>;
using FlashAttention = attn::FlashAttention<Config, RowSource, Score, Destination>;

// FlashAttention.attend: tiled online softmax.
extern "C" __global__ void __launch_bounds__(FlashAttention::Attend::kThreads, 1)
    dense_attention_attend(const __grid_constant__ attn::Problem problem) {
    extern __shared__ __align__(1024) unsigned char shared[];
    FlashAttention::Attend::run(problem, RowSource{}, Score{}, Destination{}, {}, shared);
}
extern "C" __device__ attn::LaunchShape dense_attention_attend_shape = attn::shape_of<FlashAttention::Attend>();
