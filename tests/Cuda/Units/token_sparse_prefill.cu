#include <attncompose/stages/AttnCompose.Pipelines/flash_attention.cuh>
#include <attncompose/stages/AttnCompose.Pipelines/gather_tokens.cuh>
#include <attncompose/stages/AttnCompose.Pipelines/scatter_tokens.cuh>
#include <attncompose/stages/AttnCompose.Pipelines/token_coverage.cuh>

struct Config {
    static constexpr int kHeadDim = ATTNCOMPOSE_HEAD_DIM;
    static constexpr bool kCausal = true;
    using Element = ATTNCOMPOSE_ELEMENT;
    using Output = ATTNCOMPOSE_OUTPUT;
};
struct TokenCoverageConfig : Config {
    static constexpr int kWindow = 128;
    static constexpr int kPool = 7;
    static constexpr bool kRoundScoresToBFloat16 = false;
};
using TokenCoverage = attn::TokenCoverage<TokenCoverageConfig>;
using RowSource = attn::GatherTokens<Config>;
using Score = attn::NoScore;
using Destination = attn::ScatterTokens<Config>;
using GatheredRowSource = attn::GatheredTokens<Config>;
using FlashAttention = attn::FlashAttention<Config, RowSource, Score, Destination>;
using GatheredAttention = attn::FlashAttention<Config, GatheredRowSource, Score, Destination>;

// TokenCoverage.row_partials: row maximum and sum of the window queries over one segment of the keys.
extern "C" __global__ void __launch_bounds__(TokenCoverage::RowPartials::kThreads, 1)
    token_sparse_prefill_row_partials(const __grid_constant__ attn::Problem problem, float2* row_partials) {
    extern __shared__ __align__(1024) unsigned char shared[];
    TokenCoverage::RowPartials::run(problem, {.row_partials = row_partials}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_row_partials_shape =
    attn::shape_of<TokenCoverage::RowPartials>();

// TokenCoverage.column_scores: mean probability of each prefix token over the window queries.
extern "C" __global__ void __launch_bounds__(TokenCoverage::ColumnScores::kThreads, 1)
    token_sparse_prefill_column_scores(const __grid_constant__ attn::Problem problem, const float2* row_partials,
                                       float* raw_scores) {
    extern __shared__ __align__(1024) unsigned char shared[];
    TokenCoverage::ColumnScores::run(problem, {.row_partials = row_partials, .raw_scores = raw_scores}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_column_scores_shape =
    attn::shape_of<TokenCoverage::ColumnScores>();

// TokenCoverage.pool: average pool along the prefix, then the mean over heads.
extern "C" __global__ void __launch_bounds__(TokenCoverage::Pool::kThreads, 1)
    token_sparse_prefill_pool(const __grid_constant__ attn::Problem problem, const float* raw_scores, float* scores,
                              float* mean_scores) {
    extern __shared__ __align__(1024) unsigned char shared[];
    TokenCoverage::Pool::run(problem, {.raw_scores = raw_scores, .scores = scores, .mean_scores = mean_scores}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_pool_shape = attn::shape_of<TokenCoverage::Pool>();

// TokenCoverage.budget: how many tokens the layer keeps.
extern "C" __global__ void __launch_bounds__(TokenCoverage::Budget::kThreads, 1)
    token_sparse_prefill_budget(const __grid_constant__ attn::Problem problem, const float* mean_scores, int* budget,
                                double coverage, int min_tokens) {
    extern __shared__ __align__(1024) unsigned char shared[];
    TokenCoverage::Budget::run(
        problem, {.mean_scores = mean_scores, .budget = budget, .coverage = coverage, .min_tokens = min_tokens},
        shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_budget_shape = attn::shape_of<TokenCoverage::Budget>();

// TokenCoverage.select: each head's highest-scored prefix tokens and the window, ascending.
extern "C" __global__ void __launch_bounds__(TokenCoverage::Select::kThreads, 1)
    token_sparse_prefill_select(const __grid_constant__ attn::Problem problem, const float* scores, const int* budget,
                                const attn::TokenIndex token_index) {
    extern __shared__ __align__(1024) unsigned char shared[];
    TokenCoverage::Select::run(problem, {.scores = scores, .budget = budget, .token_index = token_index}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_select_shape = attn::shape_of<TokenCoverage::Select>();

// FlashAttention.attend: gather, tiled online softmax, scatter.
extern "C" __global__ void __launch_bounds__(FlashAttention::Attend::kThreads, 1)
    token_sparse_prefill_attend(const __grid_constant__ attn::Problem problem, const attn::TokenIndex token_index) {
    extern __shared__ __align__(1024) unsigned char shared[];
    FlashAttention::Attend::run(problem, RowSource{.token_index = token_index}, Score{},
                                Destination{.token_index = token_index}, {}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_attend_shape = attn::shape_of<FlashAttention::Attend>();

// GatherTokens.gather: selected rows of key and value side by side.
extern "C" __global__ void __launch_bounds__(RowSource::Gather::kThreads, 1)
    token_sparse_prefill_gather(const __grid_constant__ attn::Problem problem, const attn::HeadRange heads,
                                const attn::TokenIndex token_index, Config::Element* gathered_key,
                                Config::Element* gathered_value) {
    extern __shared__ __align__(1024) unsigned char shared[];
    RowSource::Gather::run(problem,
                           {.heads = heads,
                            .token_index = token_index,
                            .gathered_key = gathered_key,
                            .gathered_value = gathered_value},
                           shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_gather_shape = attn::shape_of<RowSource::Gather>();

// FlashAttention.attend over what was gathered.
extern "C" __global__ void __launch_bounds__(GatheredAttention::Attend::kThreads, 1)
    token_sparse_prefill_attend_gathered(const __grid_constant__ attn::Problem problem, const attn::HeadRange heads,
                                         const attn::TokenIndex token_index,
                                         const __grid_constant__ attn::TensorMaps maps) {
    extern __shared__ __align__(1024) unsigned char shared[];
    GatheredAttention::Attend::run(problem, GatheredRowSource{.heads = heads, .token_index = token_index, .maps = &maps},
                                   Score{}, Destination{.token_index = token_index}, {}, shared);
}
extern "C" __device__ attn::LaunchShape token_sparse_prefill_attend_gathered_shape =
    attn::shape_of<GatheredAttention::Attend>();
