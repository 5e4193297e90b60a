#include <attncompose/stages/AttnCompose.Pipelines/flash_attention.cuh>

struct Config {
    static constexpr int kHeadDim = ATTNCOMPOSE_HEAD_DIM;
    static constexpr bool kCausal = true;
    using Element = ATTNCOMPOSE_ELEMENT;
    using Output = ATTNCOMPOSE_OUTPUT;
};
using RowSource = attn::MappedRows<Config>;
using Score = attn::NoScore;
using Destination = attn::DirectDestination<Config>;
using FlashAttention = attn::FlashAttention<Config, RowSource, Score, Destination>;

// FlashAttention.attend: tiled online softmax; the copy engine brings keys and values where the chip has one.
extern "C" __global__ void __launch_bounds__(FlashAttention::Attend::kThreads, 1)
mapped_attention_attend(const __grid_constant__ attn::Problem problem, const __grid_constant__ attn::TensorMaps maps) {
    extern __shared__ __align__(1024) unsigned char shared[];
    FlashAttention::Attend::run(problem, RowSource{.maps = &maps}, Score{}, Destination{}, {}, shared);
}
extern "C" __device__ attn::LaunchShape mapped_attention_attend_shape = attn::shape_of<FlashAttention::Attend>();
