// The attention main loop of the chip that a kernel is compiled for, behind the same hooks.
#pragma once

#include <attncompose/attention/mma_loop.cuh>
#include <attncompose/attention/wgmma_loop.cuh>

namespace attn {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL  // sm_90a
inline constexpr bool kHasWgmma = true;
#else
inline constexpr bool kHasWgmma = false;
#endif

template <bool kWgmma, typename... Hooks>
struct MainLoopChoice {
    using Type = MmaLoop<Hooks...>;
};
template <typename... Hooks>
struct MainLoopChoice<true, Hooks...> {
    using Type = WgmmaLoop<Hooks...>;
};

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination, KeyBlocks Blocks>
using MainLoop =
    typename MainLoopChoice<kHasWgmma && kHasWgmmaLoop<Config::kHeadDim>, Config, Rows, Score, Destination, Blocks>::Type;

}  // namespace attn
