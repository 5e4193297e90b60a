// The queries at the end of a sequence that score its tokens, the keys that blocks share out, and what blocks tell each other
// of a softmax over all keys.
//
//   W            window: the last w = min(W, Lq) queries score, the last W keys are kept anyway
//   r            row of the window, 0 <= r < w: query Lq - w + r, at position Lk - w + r
//   j            key; row r sees j <= Lk - w + r, so that every row sees the whole prefix
//   n = Lk - W   prefix: the tokens that get a score
//   S = Q K^T    times scale times log2(e), -inf where a row does not see a key
//   segment      consecutive tiles of keys: the grid's first axis shares out the tiles of a key/value head
//   partial      of a row's softmax over some keys: (o, sum of 2^(S - o)) with o not far below the largest S
#pragma once

#include <attncompose/problem.cuh>
#include <attncompose/team.cuh>

namespace attn {

inline constexpr int kMostSegments = 64;

template <int kWindow>
__device__ inline int prefix_length(Sequence sequence) {
    return largest(0, sequence.key_length - kWindow);
}

template <int kWindow>
__device__ inline int window_rows(Sequence sequence) {
    return least(kWindow, sequence.query_length);
}

// Row of a [batch, query heads, ...] buffer.
__device__ inline long long row_of(const Problem& problem, int b, int h) {
    return static_cast<long long>(b) * problem.query_heads + h;
}

// Tiles [begin, end) of this block's segment; none where there are fewer tiles than segments.
struct Segment {
    int begin, end;

    template <int kTile>
    static __device__ Segment of_block(int keys) {
        const long long tiles = divide_up(keys, kTile);
        return {static_cast<int>(blockIdx.x * tiles / gridDim.x), static_cast<int>((blockIdx.x + 1) * tiles / gridDim.x)};
    }
};

// The query heads that a block scores: at most kMost of a key/value head's. The grid's second axis counts them.
template <int kMost>
struct ScoredHeads {
    int g, first, count;

    __device__ explicit ScoredHeads(const Problem& problem) {
        const int group = problem.query_heads / problem.key_value_heads, parts = divide_up(group, kMost);
        const int part = static_cast<int>(blockIdx.y) % parts;
        g = static_cast<int>(blockIdx.y) / parts;
        first = g * group + part * kMost;
        count = least(kMost, group - part * kMost);
    }
};

// Where the partials of a head's window rows over one segment begin in [batch, query heads, kMostSegments, W].
template <int kWindow>
__device__ inline long long partials_of(const Problem& problem, int b, int h, int segment) {
    return (row_of(problem, b, h) * kMostSegments + segment) * kWindow;
}

__device__ inline float2 merge_partials(float2 a, float2 b) {
    const float highest = fmaxf(a.x, b.x);
    const float origin = highest == -kInfinity ? 0 : highest;
    return make_float2(highest, a.y * ptx::exp2(a.x - origin) + b.y * ptx::exp2(b.x - origin));
}

// The partial of window row r over all keys, from those of all segments, in order; its origin is 0 where nothing is seen.
template <int kWindow>
__device__ inline float2 whole_row(const Problem& problem, const float2* row_partials, int b, int h, int r) {
    const float2* partials = row_partials + partials_of<kWindow>(problem, b, h, 0) + r;
    const int segments = static_cast<int>(gridDim.x);
    float origin = -kInfinity, sum = 0;
#pragma unroll 8
    for (int s = 0; s < segments; s++) origin = fmaxf(origin, partials[s * kWindow].x);
    if (origin == -kInfinity) origin = 0;
#pragma unroll 8
    for (int s = 0; s < segments; s++) {
        const float2 partial = partials[s * kWindow];
        sum += partial.y * ptx::exp2(partial.x - origin);
    }
    return make_float2(origin, sum);
}

}  // namespace attn
