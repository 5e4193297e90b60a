// Row source: the tokens that a query head keeps, as one shorter sequence (Token Sparse Attention, arXiv 2602.03216).
#pragma once

#include <attncompose/attention/hooks.cuh>

namespace attn {

// Queries and keys share the ascending positions, so the compressed problem is causal exactly where the original one
// is.
template <typename Config>
struct GatherTokens {
    static constexpr bool kIndexed = true;

    TokenIndex token_index;

    __device__ HeadRows<true> rows(const Problem& problem, Sequence sequence, int b, int h) const {
        const long long row = token_index.row(problem, b, h);
        const int keys = token_index.key_count[row];
        return {keys, keys - token_index.query_begin[row], sequence.first_query(), token_index.positions_of(row)};
    }
};

}  // namespace attn
