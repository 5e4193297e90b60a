// Each head's highest scores of a prefix, ties to the lower position, and all tokens after it; positions ascend. A team of
// blocks owns a head.
#pragma once

#include <attncompose/selection/held_keys.cuh>
#include <attncompose/selection/radix_descent.cuh>
#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

template <int kWindow>
struct HighestTokens {
    static constexpr int kThreads = 1024;
    static constexpr int kWarps = kThreads / kWarp;
    static_assert(kWarps == kWarp);  // a lane for each warp's counts
    using Descent = RadixDescent<unsigned, kThreads>;
    using Keys = HeldKeys<kThreads, rank_key>;
    static constexpr int kTeam = Team::kMostBlocks;
    static constexpr int kHeldKeys = Keys::kMost;

    struct Shared {
        typename Descent::Shared descent;
        int above[kWarps], tied[kWarps];
        int total_above, total_tied;  // of the block; the team reads them
        unsigned before_queries, of_blocks[Team::kMostBlocks];
    };
    static constexpr int kSharedBytes = sizeof(Shared);

    // Keeps kept_of() of the prefix; it is asked for that once the scores have been read. scores are [batch, query heads,
    // key length].
    template <typename KeptOf>
    static __device__ void keep(const Problem& problem, const float* scores, const TokenIndex& token_index,
                                unsigned char* shared_memory, KeptOf kept_of) {
        Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
        const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
        const Sequence sequence = sequence_of(problem, b);
        const int prefix = prefix_length<kWindow>(sequence), window = sequence.key_length - prefix;
        const int first_query = largest(0, sequence.first_query());
        const long long row = token_index.row(problem, b, h);
        int* positions = token_index.positions_of(row);
        const Team team = Team::of_block();
        const Run run(team, prefix);

        const Keys keys(scores + row_of(problem, b, h) * problem.key_length, run, shared_memory + kSharedBytes);
        const Descent descent{team, shared.descent, run.count};
        if (keys.is_held())
            descent.start(ranked(keys.from_memory()));
        else
            descent.start(ranked(keys.from_scores()));
        const int kept = kept_of(prefix);

        int query_begin = least(first_query, prefix);  // kept tokens of the prefix that have no query
        if (kept == prefix) {
            for (int i = static_cast<int>(threadIdx.x); i < run.count; i += kThreads) positions[run.begin + i] = run.begin + i;
        } else if (kept == 0) {
            query_begin = 0;
        } else {
            query_begin = keys.is_held()
                              ? compact(keys.from_memory(), descent, run, kept, first_query, positions, shared)
                              : compact(keys.from_scores(), descent, run, kept, first_query, positions, shared);
        }
        if (team.rank != 0) return;
        for (int t = static_cast<int>(threadIdx.x); t < window; t += kThreads) positions[kept + t] = prefix + t;
        if (threadIdx.x == 0) {
            token_index.key_count[row] = kept + window;
            token_index.query_begin[row] = query_begin + largest(0, first_query - prefix);
        }
    }

  private:
    template <typename KeyAt>
    static __device__ auto ranked(KeyAt key_at) {
        return [=](int i, unsigned& key, unsigned& count) {
            key = key_at(i);
            count = 1;
        };
    }

    // Writes the positions of the `kept` highest scores; thread 0 of the team's block 0 learns how many of them are below
    // first_query. Each warp owns a piece of the run: it counts, learns where its output begins, and writes.
    template <typename KeyAt>
    static __device__ int compact(KeyAt key_at, const Descent& descent, const Run& run, int kept, int first_query,
                                  int* positions, Shared& shared) {
        const Team& team = descent.team;
        const auto crossing =
            descent.template finish<false>([&](unsigned) { return static_cast<unsigned>(kept); }, ranked(key_at));
        const int wanted_ties = kept - static_cast<int>(crossing.before);

        const int piece = divide_up(divide_up(run.count, kWarps), kWarp) * kWarp;
        const int begin = least(warp_id() * piece, run.count), end = least(begin + piece, run.count);
        int above = 0, tied = 0;
#pragma unroll 4
        for (int i = begin + lane_id(); i < end; i += kWarp) {
            const unsigned key = key_at(i);
            above += key > crossing.key;
            tied += key == crossing.key;
        }
        above = warp_reduce(above, Sum{});
        tied = warp_reduce(tied, Sum{});
        if (lane_id() == 0) {
            shared.above[warp_id()] = above;
            shared.tied[warp_id()] = tied;
        }
        if (threadIdx.x == 0) shared.before_queries = 0;
        __syncthreads();
        above = shared.above[lane_id()];
        tied = shared.tied[lane_id()];
        int above_before = warp_reduce(lane_id() < warp_id() ? above : 0, Sum{});
        int tied_before = warp_reduce(lane_id() < warp_id() ? tied : 0, Sum{});
        if (!team.is_alone()) {
            if (warp_id() == 0) {
                above = warp_reduce(above, Sum{});
                tied = warp_reduce(tied, Sum{});
                if (lane_id() == 0) {
                    shared.total_above = above;
                    shared.total_tied = tied;
                }
            }
            team.sync();
            const bool is_before = lane_id() < team.rank;
            above_before += warp_reduce(is_before ? team.read(shared.total_above, lane_id()) : 0, Sum{});
            tied_before += warp_reduce(is_before ? team.read(shared.total_tied, lane_id()) : 0, Sum{});
        }

        int to = above_before + least(tied_before, wanted_ties);
        unsigned before_queries = 0;
        const unsigned lower_lanes = (1u << lane_id()) - 1;
#pragma unroll 2
        for (int first = begin; first < end; first += kWarp) {
            const int i = first + lane_id(), t = run.begin + i;
            const unsigned key = i < end ? key_at(i) : 0;
            const bool is_tied = i < end && key == crossing.key;
            const unsigned ties = __ballot_sync(kAllLanes, is_tied);
            const bool taken =
                is_tied ? tied_before + __popc(ties & lower_lanes) < wanted_ties : i < end && key > crossing.key;
            const unsigned all_taken = __ballot_sync(kAllLanes, taken);
            if (taken) positions[to + __popc(all_taken & lower_lanes)] = t;
            before_queries += taken && t < first_query;
            to += __popc(all_taken);
            tied_before += __popc(ties);
        }
        before_queries = warp_reduce(before_queries, Sum{});
        if (lane_id() == 0 && before_queries != 0) atomicAdd(&shared.before_queries, before_queries);
        __syncthreads();
        return static_cast<int>(team.sum(shared.before_queries, shared.of_blocks));
    }
};

}  // namespace attn
