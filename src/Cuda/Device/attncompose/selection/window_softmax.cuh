// Softmax of a sequence's last queries over all keys, summed over those queries: how much attention each token of the
// prefix is paid. Two passes over the keys, because a probability needs the whole row's sum.
//
//   RowPartials    each window row's softmax over each segment of the keys
//   ColumnScores   raw[h][t]: mean over the window rows of softmax(S[h][r])[t]
//
// All sums have a fixed order, so that results repeat to the bit. The order depends on the sequence's lengths, the heads and
// the device, not on the batch.
#pragma once

#include <attncompose/selection/mma_window_softmax.cuh>
#include <attncompose/selection/wgmma_window_softmax.cuh>

namespace attn {

template <bool kWgmma, typename Config, typename Score>
struct WindowSoftmaxChoice {
    using Type = MmaWindowSoftmax<Config, Score>;
};
template <typename Config, typename Score>
struct WindowSoftmaxChoice<true, Config, Score> {
    using Type = WgmmaWindowSoftmax<Config, Score>;
};

// Config: kHeadDim, Element, kWindow. Score: the rules, which change scores before their softmax; the loop of wgmma has no
// registers for them.
template <typename Config, ScoreHook Score>
using WindowSoftmax =
    typename WindowSoftmaxChoice<kHasWgmma && kHasWgmmaLoop<Config::kHeadDim> && Score::kIdentity, Config, Score>::Type;

}  // namespace attn
