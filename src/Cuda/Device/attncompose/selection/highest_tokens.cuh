// Each head's highest scores of a prefix, ties to the lower position, and all tokens after it; positions ascend.
#pragma once

#include <attncompose/selection/radix_descent.cuh>
#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// One block a query head.
template <int kWindow>
struct HighestTokens {
    static constexpr int kThreads = 512;
    static constexpr int kWarps = kThreads / kWarp;
    using Descent = RadixDescent<unsigned, kThreads>;

    struct Shared {
        typename Descent::Shared descent;
        int above[kWarps], tied[kWarps], before_queries[kWarps];
    };
    static constexpr int kSharedBytes = sizeof(Shared);

    // Keeps `kept` of the prefix. scores are [batch, query heads, key length].
    static __device__ void keep(const Problem& problem, const float* scores, int kept, const TokenIndex& token_index,
                                unsigned char* shared) {
        const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
        const Sequence sequence = sequence_of(problem, b);
        const int prefix = prefix_length<kWindow>(sequence), window = sequence.key_length - prefix;
        const int first_query = largest(0, sequence.first_query());
        const long long row = token_index.row(problem, b, h);
        int* positions = token_index.positions_of(row);

        int query_begin = least(first_query, prefix);  // kept tokens of the prefix that have no query
        if (kept == prefix) {
            for (int t = static_cast<int>(threadIdx.x); t < prefix; t += kThreads) positions[t] = t;
        } else if (kept == 0) {
            query_begin = 0;
        } else {
            const float* of_head = scores + row_of(problem, b, h) * problem.key_length;
            query_begin = compact(of_head, prefix, kept, first_query, positions, *reinterpret_cast<Shared*>(shared));
        }
        for (int t = static_cast<int>(threadIdx.x); t < window; t += kThreads) positions[kept + t] = prefix + t;
        if (threadIdx.x == 0) {
            token_index.key_count[row] = kept + window;
            token_index.query_begin[row] = query_begin + largest(0, first_query - prefix);
        }
    }

    // Writes the positions of the `kept` highest scores; returns how many of them are below first_query. Each warp
    // owns a run of the prefix: it counts, learns where its output begins, and writes.
    static __device__ int compact(const float* scores, int prefix, int kept, int first_query, int* positions,
                                  Shared& shared) {
        const auto crossing = Descent::template find<false>(shared.descent, prefix, static_cast<unsigned>(kept),
                                                            [&](int t, unsigned& key, unsigned& count) {
                                                                key = rank_key(scores[t]);
                                                                count = 1;
                                                            });
        const int wanted_ties = kept - static_cast<int>(crossing.before);

        const int run_length = divide_up(divide_up(prefix, kWarps), kWarp) * kWarp;
        const int begin = least(warp_id() * run_length, prefix), end = least(begin + run_length, prefix);
        int above = 0, tied = 0;
        for (int t = begin + lane_id(); t < end; t += kWarp) {
            const unsigned key = rank_key(scores[t]);
            above += key > crossing.key;
            tied += key == crossing.key;
        }
        above = warp_reduce(above, Sum{});
        tied = warp_reduce(tied, Sum{});
        if (lane_id() == 0) {
            shared.above[warp_id()] = above;
            shared.tied[warp_id()] = tied;
        }
        __syncthreads();
        int above_before = 0, tied_before = 0;
        for (int warp = 0; warp < warp_id(); warp++) {
            above_before += shared.above[warp];
            tied_before += shared.tied[warp];
        }

        int to = above_before + least(tied_before, wanted_ties), before_queries = 0;
        const unsigned lower_lanes = (1u << lane_id()) - 1;
        for (int first = begin; first < end; first += kWarp) {
            const int t = first + lane_id();
            const unsigned key = t < end ? rank_key(scores[t]) : 0;
            const bool is_tied = t < end && key == crossing.key;
            const unsigned ties = __ballot_sync(kAllLanes, is_tied);
            const bool taken =
                is_tied ? tied_before + __popc(ties & lower_lanes) < wanted_ties : t < end && key > crossing.key;
            const unsigned all_taken = __ballot_sync(kAllLanes, taken);
            if (taken) positions[to + __popc(all_taken & lower_lanes)] = t;
            before_queries += taken && t < first_query;
            to += __popc(all_taken);
            tied_before += __popc(ties);
        }
        return block_reduce<kThreads>(before_queries, shared.before_queries, Sum{});
    }
};

}  // namespace attn
