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

template <bool kWgmma, typename Config>
struct WindowSoftmaxChoice {
    using Type = MmaWindowSoftmax<Config>;
};
template <typename Config>
struct WindowSoftmaxChoice<true, Config> {
    using Type = WgmmaWindowSoftmax<Config>;
};

// Config: kHeadDim, Element, kWindow.
template <typename Config>
using WindowSoftmax = typename WindowSoftmaxChoice<kHasWgmma && kHasWgmmaLoop<Config::kHeadDim>, Config>::Type;

}  // namespace attn
