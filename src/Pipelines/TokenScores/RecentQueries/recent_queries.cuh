// Token score of Token Sparse Attention (arXiv 2602.03216): raw[h][t] is the mean over the last min(W, Lq) queries of their
// softmax at token t (window_softmax.cuh).
#pragma once

#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow. Score: the pipeline's rules.
template <typename Config, ScoreHook Score>
struct RecentQueries {
    using RowPartials = typename WindowSoftmax<Config, Score>::RowPartials;
    using ColumnScores = typename WindowSoftmax<Config, Score>::ColumnScores;
};

}  // namespace attn
