// Block selector: a list that the caller made. It says only what the list may hold; there is nothing to compute.
#pragma once

#include <attncompose/block_list.cuh>

namespace attn {

template <typename Config>
struct GivenBlocks {
    static constexpr bool kColumns = Config::kColumns, kSlashes = Config::kSlashes;
};

}  // namespace attn
