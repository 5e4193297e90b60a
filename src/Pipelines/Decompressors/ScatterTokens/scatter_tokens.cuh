// Row destination: a kept token's row goes to its place in the original sequence, the rows of the others are skipped,
// so that the loop fills them (Token Sparse Attention, arXiv 2602.03216).
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/warp_search.cuh>

namespace attn {

template <typename Config>
struct ScatterTokens {
    struct Rows {
        const int* positions;  // of the kept tokens that have a query, ascending
        int query_count;
        int first_query;

        __device__ int query_row(int i) const { return positions[i] - first_query; }

        template <int kWarps, int kMost, typename Fill>
        __device__ void for_each_skipped(int warp, int begin, int end, Fill fill) const {
            // Each lane holds some of the kept rows in the range; a row is skipped if no lane holds it.
            constexpr int kHeld = divide_up(kMost, kWarp);
            const int first = lower_bound(positions, query_count, begin + first_query);
            int held[kHeld];
#pragma unroll
            for (int k = 0; k < kHeld; k++) {
                const int i = first + k * kWarp + lane_id();
                held[k] = i < query_count ? query_row(i) : -1;
            }
            for (int row = begin + warp; row < end; row += kWarps) {
                bool kept = false;
#pragma unroll
                for (int k = 0; k < kHeld; k++) kept |= held[k] == row;
                if (!__any_sync(kAllLanes, kept)) fill(row);
            }
        }
    };

    TokenIndex token_index;

    __device__ Rows rows(const Problem& problem, Sequence sequence, int b, int h) const {
        const long long row = token_index.row(problem, b, h);
        const int begin = token_index.query_begin[row];
        return {token_index.positions_of(row) + begin, token_index.key_count[row] - begin, sequence.first_query()};
    }
};

}  // namespace attn
