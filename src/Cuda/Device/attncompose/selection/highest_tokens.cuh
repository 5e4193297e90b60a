// Each head's highest scores of a prefix, ties to the lower position, and all tokens after it; positions ascend. A team of
// blocks owns a head.
#pragma once

#include <attncompose/selection/held_keys.cuh>
#include <attncompose/selection/radix_descent.cuh>
#include <attncompose/selection/score_order.cuh>
#include <attncompose/selection/window_softmax.cuh>

namespace attn {

// kLeastShared: shared memory that a caller's work before the choice needs, at the same place.
template <int kWindow, int kLeastShared = 0>
struct HighestTokens {
    static constexpr int kThreads = 1024;
    static constexpr int kWarps = kThreads / kWarp;
    static_assert(kWarps == kWarp);  // a lane for each warp's counts
    using Descent = RadixDescent<unsigned, false, kThreads>;
    using Keys = HeldKeys<kThreads, rank_key>;
    static constexpr int kTeam = Team::kMostBlocks;
    static constexpr int kHeldKeys = Keys::kMost;

    struct alignas(16) Shared {  // the held keys follow, which are read four at a time
        typename Descent::Shared descent;
        int above[kWarps], tied[kWarps];
        int total_above, total_tied;  // of the block; the team reads them
        unsigned before_queries, of_blocks[Team::kMostBlocks];
    };
    static constexpr int kSharedBytes = largest(static_cast<int>(sizeof(Shared)), divide_up(kLeastShared, 16) * 16);

    // Keeps kept_of() of the prefix; it is asked for that once the scores have been read. scores are [batch, query heads,
    // key length].
    template <typename KeptOf>
    static __device__ void keep(const Problem& problem, const float* scores, const TokenIndex& token_index,
                                unsigned char* shared_memory, KeptOf kept_of) {
        const Head head(problem, scores, shared_memory);
        const Descent descent{head.team, reinterpret_cast<Shared*>(shared_memory)->descent};
        descent.clear();
        head.keys.load([&](unsigned key) { descent.add_first(key, 1); });
        descent.end_first();
        head.place(kept_of(head.prefix), problem, token_index, descent, shared_memory);
    }

    // The same where the number follows from the keys: kept_of(keys, team, prefix), which has the shared memory to itself.
    // It reads the keys first, and all threads of the team get the number.
    template <typename KeptOf>
    static __device__ void keep_by_keys(const Problem& problem, const float* scores, const TokenIndex& token_index,
                                        unsigned char* shared_memory, KeptOf kept_of) {
        const Head head(problem, scores, shared_memory);
        const int kept = kept_of(head.keys, head.team, head.prefix);
        head.team.sync();  // what kept_of() shared has been read
        const Descent descent{head.team, reinterpret_cast<Shared*>(shared_memory)->descent};
        descent.clear();
        const auto one = [](unsigned) { return 1u; };
        if (head.keys.is_held())
            descent.start(head.keys.from_memory(), one);
        else
            descent.start(head.keys.from_scores(), one);
        head.place(kept, problem, token_index, descent, shared_memory);
    }

  private:
    // The head of the block's team, and its run of the keys.
    struct Head {
        int b, h;
        Sequence sequence;
        int prefix;
        Team team;
        Run run;
        Keys keys;

        __device__ Head(const Problem& problem, const float* scores, unsigned char* shared_memory)
            : b(static_cast<int>(blockIdx.z)),
              h(static_cast<int>(blockIdx.y)),
              sequence(sequence_of(problem, b)),
              prefix(prefix_length<kWindow>(sequence)),
              team(Team::of_block()),
              run(team, prefix),
              keys(scores + row_of(problem, b, h) * problem.key_length, run, shared_memory + kSharedBytes) {}

        // Behind the first pass of the descent.
        __device__ void place(int kept, const Problem& problem, const TokenIndex& token_index, const Descent& descent,
                              unsigned char* shared_memory) const {
            Shared& shared = *reinterpret_cast<Shared*>(shared_memory);
            const int window = sequence.key_length - prefix;
            const int first_query = largest(0, sequence.first_query());
            const long long row = token_index.row(problem, b, h);
            int* positions = token_index.positions_of(row);
            int query_begin = least(first_query, prefix);  // kept tokens of the prefix that have no query
            if (kept == prefix) {
                for (int i = static_cast<int>(threadIdx.x); i < run.count; i += kThreads)
                    positions[run.begin + i] = run.begin + i;
            } else if (kept == 0) {
                query_begin = 0;
            } else {
                query_begin = keys.is_held()
                                  ? compact(keys.from_memory(), descent, run.begin, kept, first_query, positions, shared)
                                  : compact(keys.from_scores(), descent, run.begin, kept, first_query, positions, shared);
            }
            if (team.rank != 0) return;
            for (int t = static_cast<int>(threadIdx.x); t < window; t += kThreads) positions[kept + t] = prefix + t;
            if (threadIdx.x == 0) {
                token_index.key_count[row] = kept + window;
                token_index.query_begin[row] = query_begin + largest(0, first_query - prefix);
            }
        }
    };

    // A warp's piece of the run, and where its output goes.
    struct Piece {
        int begin, end;      // of the run's keys
        int to;              // index of its first output
        int tied_before;     // keys equal to the threshold that come before it in the head,
        int wanted_ties;     // of which so many are kept
        bool has_ties;       // it has some itself
    };

    // Writes the positions of the `kept` highest scores; thread 0 of the team's block 0 learns how many of them are below
    // first_query. Each warp owns a piece of the run: it counts, learns where its output begins, and writes.
    template <typename KeySource>
    static __device__ int compact(const KeySource& keys, const Descent& descent, int run_begin, int kept, int first_query,
                                  int* positions, Shared& shared) {
        const auto crossing = descent.finish([&](unsigned) { return static_cast<unsigned>(kept); }, keys,
                                             [](unsigned) { return 1u; });
        const unsigned threshold = crossing.key;
        const Piece piece =
            piece_of_warp(keys, descent.team, threshold, kept - static_cast<int>(crossing.before), shared);
        unsigned before_queries = 0;
        // What most pieces do without, none equal to the threshold and none before the first query, is left out for them.
        if (piece.has_ties || run_begin + piece.begin < first_query)
            before_queries = write<true>(keys, threshold, piece, run_begin, first_query, positions);
        else
            write<false>(keys, threshold, piece, run_begin, first_query, positions);
        if (lane_id() == 0 && before_queries != 0) atomicAdd(&shared.before_queries, before_queries);
        __syncthreads();
        return static_cast<int>(descent.team.sum(shared.before_queries, shared.of_blocks));
    }

    template <typename KeySource>
    static __device__ Piece piece_of_warp(const KeySource& keys, const Team& team, unsigned threshold, int wanted_ties,
                                          Shared& shared) {
        constexpr int kChunk = 4 * kWarp;  // a quad for each lane
        const int length = divide_up(divide_up(keys.count, kWarps), kChunk) * kChunk;
        Piece piece;
        piece.begin = least(warp_id() * length, keys.count);
        piece.end = least(piece.begin + length, keys.count);
        int above = 0, tied = 0;
        const auto count = [&](unsigned key, int i) {
            above += i < piece.end && key > threshold;
            tied += i < piece.end && key == threshold;
        };
#pragma unroll 2
        for (int i = piece.begin + 4 * lane_id(); i < piece.end; i += kChunk) {
            const uint4 quad = keys.quad(i);
            count(quad.x, i);
            count(quad.y, i + 1);
            count(quad.z, i + 2);
            count(quad.w, i + 3);
        }
        above = warp_reduce(above, Sum{});
        tied = warp_reduce(tied, Sum{});
        piece.has_ties = tied != 0;
        piece.wanted_ties = wanted_ties;
        if (lane_id() == 0) {
            shared.above[warp_id()] = above;
            shared.tied[warp_id()] = tied;
        }
        if (threadIdx.x == 0) shared.before_queries = 0;
        __syncthreads();
        above = shared.above[lane_id()];
        tied = shared.tied[lane_id()];
        int above_before = warp_reduce(lane_id() < warp_id() ? above : 0, Sum{});
        piece.tied_before = warp_reduce(lane_id() < warp_id() ? tied : 0, Sum{});
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
            piece.tied_before += warp_reduce(is_before ? team.read(shared.total_tied, lane_id()) : 0, Sum{});
        }
        piece.to = above_before + least(piece.tied_before, wanted_ties);
        return piece;
    }

    // Returns, to all lanes, how many of the written positions are below first_query.
    template <bool kAny, typename KeySource>
    static __device__ unsigned write(const KeySource& keys, unsigned threshold, const Piece& piece, int run_begin,
                                     int first_query, int* positions) {
        int to = piece.to, tied_before = piece.tied_before;
        const int run_queries = first_query - run_begin;  // first_query, counted in the run
        unsigned before_queries = 0;
        const unsigned lower_lanes = (1u << lane_id()) - 1;
#pragma unroll 4
        for (int first = piece.begin; first < piece.end; first += kWarp) {
            const int i = first + lane_id();
            const unsigned key = i < piece.end ? keys(i) : 0;
            bool taken = i < piece.end && key > threshold;
            if constexpr (kAny) {
                const bool is_tied = i < piece.end && key == threshold;
                const unsigned ties = __ballot_sync(kAllLanes, is_tied);
                taken = taken || (is_tied && tied_before + __popc(ties & lower_lanes) < piece.wanted_ties);
                tied_before += __popc(ties);
            }
            const unsigned all_taken = __ballot_sync(kAllLanes, taken);
            if (taken) positions[to + __popc(all_taken & lower_lanes)] = run_begin + i;
            to += __popc(all_taken);
            if constexpr (kAny)
                if (first < run_queries) before_queries += __popc(__ballot_sync(kAllLanes, taken && i < run_queries));
        }
        return before_queries;
    }
};

}  // namespace attn
