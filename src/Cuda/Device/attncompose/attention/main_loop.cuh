// The attention main loop of the chip that a kernel is compiled for, behind the same hooks.
#pragma once

#include <attncompose/attention/mma_loop.cuh>
#include <attncompose/attention/wgmma_loop.cuh>

namespace attn {

// In place of a loop over rows that only the copy engine brings, where there is none. The host sees that it reads no tensor
// map and launches the kernel that copies row by row.
struct NoLoop {
    static constexpr int kThreads = kWarp, kTile = 1, kSharedBytes = 0;
    static constexpr int kMainLoop = 0, kBoxColumns = 0, kBoxRows = 0;

    template <typename... Arguments>
    static __device__ void run(const Arguments&...) {}
};

template <bool kWgmma, typename Config, typename Rows, typename... Hooks>
struct MainLoopChoice {
    using Type = MmaLoop<Config, Rows, Hooks...>;
};
template <typename Config, typename Rows, typename... Hooks>
struct MainLoopChoice<true, Config, Rows, Hooks...> {
    using Type = WgmmaLoop<Config, Rows, Hooks...>;
};
template <typename Config, typename Rows, typename... Hooks>
    requires kGatheredAhead<Rows>
struct MainLoopChoice<false, Config, Rows, Hooks...> {
    using Type = NoLoop;
};

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination, KeyBlocks Blocks>
using MainLoop =
    typename MainLoopChoice<kHasWgmma && kHasWgmmaLoop<Config::kHeadDim>, Config, Rows, Score, Destination, Blocks>::Type;

}  // namespace attn
