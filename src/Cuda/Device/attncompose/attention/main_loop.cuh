// The attention main loop of the chip that a kernel is compiled for, behind the same hooks.
#pragma once

#include <attncompose/attention/mma_loop.cuh>
#include <attncompose/attention/wgmma_loop.cuh>

namespace attn {

template <bool kWgmma, typename... Hooks>
struct MainLoopChoice {
    using Type = MmaLoop<Hooks...>;
};
template <typename... Hooks>
struct MainLoopChoice<true, Hooks...> {
    using Type = WgmmaLoop<Hooks...>;
};

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination>
using MainLoop =
    typename MainLoopChoice<kHasWgmma && kHasWgmmaLoop<Config::kHeadDim>, Config, Rows, Score, Destination>::Type;

}  // namespace attn
