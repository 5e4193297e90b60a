// The attention main loop for sm_90a: wgmma fed through a ring in shared memory, by a producer warpgroup that only copies
// and consumer warpgroups that only compute (FlashAttention-3, arXiv 2407.08608). One block owns kQueryTile queries of one
// query head, 64 a consumer, and walks the keys that they see in tiles of kKeyTile, in the order that the key blocks give
// (key_walk.cuh).
//
//   b, h, g        sequence, query head, key/value head
//   i, j           query, key among the rows that take part (hooks.cuh); row of a tile where it is local
//   Q K V O        [queries, d], [keys, d], [keys, d], [queries, d];  d = kHeadDim
//   S = Q K^T      then scale, score hook and mask
//   P = 2^(c (S - m))   m the largest S of the row so far, c = scale log2(e);  O = sum of P V, l = sum of P;  result O / l
//   diagonal       query i sees key j if j <= i + key_count - query_count
//
// The hot loop has the tiles that need no mask. Each of its steps multiplies S of one tile and O of the one before. The softmax
// runs beside products: those of the other consumers, which take turns in issuing theirs, and, where
// kOverlap says so, the consumer's own O, which is then still in flight.
#pragma once

#include <attncompose/attention/online_softmax.cuh>
#include <attncompose/attention/wgmma_producer.cuh>
#include <attncompose/attention/wgmma_results.cuh>
#include <attncompose/attention/wgmma_scores.cuh>
#include <attncompose/attention/work_order.cuh>

namespace attn {

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination, KeyBlocks Blocks,
          typename Tuning = typename WgmmaTuningChoice<Config, kHasMaps<Rows>, Score, Blocks>::Type>
struct WgmmaLoop {
    using Element = typename Config::Element;
    using Output = typename Config::Output;
    static_assert(attn::Element<Element> && OutputElement<Output, Element>);

    static constexpr int kHeadDim = Config::kHeadDim;
    static_assert(kHasWgmmaLoop<kHeadDim>);

    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr bool kMapped = kHasMaps<Rows>;
    static constexpr bool kGathered = kGatheredAhead<Rows>;
    static constexpr bool kKeepsPositions = kIndexed && !kMapped && !Score::kIdentity;
    // A tile is of neighbours, so what rules have of the distance is the same along its diagonals.
    static constexpr bool kSharesTerms = kHasDistanceTerm<Score> && !kIndexed && !Blocks::kColumns;

    using Ring = WgmmaRing<Config, Tuning, kKeepsPositions, kSharesTerms>;
    using Header = typename Ring::Header;
    using Slot = typename Ring::Slot;
    using Barrier = typename Ring::Barrier;
    using QueryTile = typename Ring::QueryTile;

    static constexpr int kConsumers = Ring::kConsumers;
    static constexpr int kConsumerRows = Ring::kConsumerRows;
    static constexpr int kQueryTile = kConsumers * kConsumerRows;
    static constexpr int kKeyTile = Ring::kKeyTile;
    static constexpr int kParts = Blocks::template kParts<kQueryTile>;
    static_assert(kParts == 1 || kParts == kConsumers);  // where there are several, each consumer has one

    using Producer = WgmmaProducer<Element, Rows, Blocks, Ring>;

    // The warpgroups share out, in eights, what the block begins with: a lane's equal part of the multiprocessor's 64K registers,
    // in eights too, so 168 of three and not 170. One that asks for more than there is waits for ever.
    static constexpr int kRegisters = (64 << 10) / ((1 + kConsumers) * kWarpgroup) / 8 * 8 * (1 + kConsumers);
    static constexpr int kProducerRegisters = Tuning::kProducerRegisters;
    static constexpr int kConsumerRegisters = (kRegisters - kProducerRegisters) / kConsumers / 8 * 8;

    // Named barriers: one of the whole block, one to synchronise each consumer, one for each consumer's turn.
    static constexpr int kBlockBarrier = 0, kConsumerBarrier = Ring::kConsumerBarrier, kTurnBarrier = kConsumerBarrier + kConsumers;

    static constexpr int kThreads = (1 + kConsumers) * kWarpgroup;
    static constexpr int kTile = kQueryTile;
    static constexpr int kSharedBytes = Ring::kBytes;
    static constexpr int kMainLoop = 90;
    static constexpr int kBoxColumns = kMapped ? Ring::KeyTile::kSlab : 0, kBoxRows = kMapped ? kKeyTile : 0;

    // Most ranges of the output whose skipped rows one block fills.
    static constexpr int kMostRanges = 8;
    // Warps that do: the first one is the copy engine's.
    static constexpr int kFillingWarps = kWarpgroup / kWarp - (kMapped ? 1 : 0);
    // Rows that they look at together, in registers.
    static constexpr int kFilledRows = kProducerRegisters < 40 ? kConsumerRows : kQueryTile;
    using TileScores = WgmmaScores<Config, Rows, Score, Blocks, Ring>;
    using ResultRows = WgmmaResultRows<Config, Destination, Ring, kFillingWarps, kFilledRows>;

    using Softmax = OnlineSoftmax<1>;
    using Scores = float[kKeyTile / 8][4];
    using Results = float[kHeadDim / 8][4];
    using Weights = unsigned[kKeyTile / 16][4];  // A operands
    using ScoreProduct = ptx::Wgmma<Element, kKeyTile>;
    using ResultProduct = ptx::Wgmma<Element, kHeadDim>;

    const Problem& problem;
    const Rows& source;
    const Score& score;
    const Destination& destination;
    const Blocks& blocks;
    int b, h, g;
    HeadRows<kIndexed> rows;
    int tile_begin;   // first query of the tile
    int first_block;  // of its walk, or -1
    Ring ring;
    int thread;  // of the warpgroup

    // The last phase of its kernel, which has __launch_bounds__(kThreads, 1): the warpgroups part here.
    static __device__ void run(const Problem& problem, const Rows& source, const Score& score, const Destination& destination,
                               const Blocks& blocks, unsigned char* shared) {
        const Ring ring{ptx::shared_address(shared)};
        if (threadIdx.x == 0) {
            if constexpr (kMapped) Producer::prefetch_maps(source);
            ring.init_barriers();
        }
        const auto [b, h, rank] = work(problem, source);
        const int tiles = static_cast<int>(gridDim.x);
        const auto [tile, first_block] = blocks.place_of(problem, b, h, rank, tiles);
        const HeadRows<kIndexed> rows = source.rows(problem, sequence_of(problem, b), b, h);
        // The producer's idle warps fill skipped rows of the output side by side with the main loop, so blocks without queries
        // can leave at once; with few queries more blocks share that. A producer without idle warps fills its own tile's rows.
        const int busy = divide_up(rows.query_count, kQueryTile);
        const int filling = kMapped ? largest(busy, divide_up(tiles, kMostRanges)) : tiles;
        if (tile >= filling) return;
        const WgmmaLoop loop{problem, source, score, destination, blocks, b, h, problem.key_value_head(h), rows,
                             tile * kQueryTile, first_block, ring, static_cast<int>(threadIdx.x) % kWarpgroup};
        if (threadIdx.x == 0) ring.put_work(b, h, loop.tile_begin, rows.query_count, problem.scale);
        const bool has_queries = loop.tile_begin < loop.rows.query_count;
        // Taken from lane 0 so that the compiler knows it to be the same in all lanes.
        const int warp = __shfl_sync(kAllLanes, warp_id(), 0), warpgroup = warp / (kWarpgroup / kWarp);
        // The others wait for the barriers; the first warp has made them and goes on. The queries are on their way meanwhile.
        if (warpgroup > 0 && has_queries) loop.start_queries(warpgroup - 1);
        if (warp == 0) {
            __syncwarp();
            ptx::arrive_named(kBlockBarrier, kThreads);
        } else {
            ptx::sync_named(kBlockBarrier, kThreads);
        }

        if (warpgroup == 0) {
            ptx::shrink_registers<kProducerRegisters>();
            if (has_queries) loop.produce();
            if (warp_id() >= kWarpgroup / kWarp - kFillingWarps) loop.results().fill_skipped(loop.tile_begin, filling * kQueryTile);
        } else {
            ptx::grow_registers<kConsumerRegisters>();
            if (has_queries) loop.consume(warpgroup - 1);
        }
    }

    __device__ static Work work(const Problem& problem, const Rows& source) {
        if constexpr (kGathered)
            return work_of_block<Element, kHeadDim>(problem, static_cast<unsigned>(source.heads.first), 1);
        else
            return work_of_block<Element, kHeadDim>(problem, 0, problem.group());
    }

    __device__ void produce() const {
        const Producer producer{problem, source, rows, ring, blocks.columns(b, h), b, h, g, thread};
        const WalkRange range = walk_range(b, h, tile_begin);
        producer.run(blocks.template walk<kQueryTile, kKeyTile>(range), range.tiles);
    }

    __device__ WalkRange walk_range(int b, int h, int tile_begin) const {
        WalkRange range = walk_range_of<Config::kCausal, kQueryTile, kKeyTile>(rows, b, h, g, tile_begin);
        range.first_block = first_block;
        return range;
    }

    // ---- Consumers ------------------------------------------------------------------------------------------------------

    // What a consumer has in registers.
    struct State {
        int consumer;
        int first_row;  // this lane's first query of two, eight apart
        Slot keys, values;
        Softmax softmax;
        bool rescales;  // o, by this
        float rescale[2];
        Results o;
        Weights p;
    };

    __device__ void consume(int consumer) const {
        wait_for_queries(consumer);
        State state;
        state.consumer = consumer;
        state.first_row = tile_begin + first_row_of_lane(consumer);
#pragma unroll
        for (int n = 0; n < kHeadDim / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) state.o[n][e] = 0;
        scores().start_with_sinks(state.softmax, state.first_row);
        if (Tuning::kTakeTurns && consumer == kConsumers - 1) pass_turn(consumer);

        Header header = wait_for_keys(state);
        if constexpr (kParts > 1) {
            if (header.flags & KeyStep::kTile) {
                header.flags = flags_told(header);
                consume_own(state, header);
            }
        } else if (header.flags & KeyStep::kTile) {
            take_tiles(state, header);
            wait_for_values(state);
            multiply_by_values(state);
            ptx::wait_for_products<0>(state.o);
        }
        state.softmax.finish();
        results().store(state.o, state.softmax, scores().softmax_factor(), state.first_row);
    }

    // Of the tile, this lane's first query of two.
    __device__ int first_row_of_lane(int consumer) const {
        return consumer * kConsumerRows + thread / kWarp * 16 + lane_id() / 4;
    }

    // Made where it is needed, from what is there, so that the loop has its registers.
    __device__ ResultRows results() const {
        return {problem, destination, ring.sequence(), ring.query_head(), ring.query_count()};
    }

    // The walk of a consumer that has a query block of its own: it passes over tiles that only others visit. Of each tile it
    // takes and passes its turn and gives back keys and values all the same. `pending` says that the tile before was its own, so
    // that the weights wait for its values.
    __device__ void consume_own(State& state, Header& header) const {
        bool pending = take_first(state, header);
        while (header.flags & Ring::kMore) {
            const bool masked = (header.flags & Ring::kMoreMasked) != 0;
            header = wait_for_keys(state);
            if (!masked && pending && is_own(state, header)) {
                advance(state, header);
                continue;
            }
            finish_values(state, pending);
            pending = take_first(state, header);
            if (pending && state.rescales) rescale(state.o, state.rescale);
        }
        if (pending) {
            wait_for_values(state);
            multiply_by_values(state);
            ptx::wait_for_products<0>(state.o);
        }
    }

    __device__ bool is_own(const State& state, const Header& header) const {
        return !(header.flags & KeyStep::kSkipped << state.consumer);
    }

    // S = Q K^T of a tile with nothing beside it, and its weights, unless the tile is another's. Returns whether it was its own.
    __device__ bool take_first(State& state, const Header& header) const {
        if (!is_own(state, header)) {
            release(Ring::kKeysFree, state.keys);
            return false;
        }
        Scores s;
        multiply_by_keys(s, state);
        ptx::wait_for_products<0>(s);
        weigh<true>(s, state.p, state, header);
        return true;
    }

    // O += P V of the tile before, where it was its own, with nothing beside it.
    __device__ void finish_values(State& state, bool pending) const {
        take_turn(state.consumer);
        wait_for_values(state);
        if (pending) {
            multiply_by_values(state);
            ptx::wait_for_products<0>(state.o);
        }
        pass_turn(state.consumer);
        release(Ring::kValuesFree, state.values);
    }

    // All tiles but the last one's values. The first one and those that need a mask have one place in the code, around the hot loop of
    // the others: what is executed once or twice is dear to fetch.
    __device__ void take_tiles(State& state, Header& header) const {
        Scores s;
        multiply_by_keys(s, state);
        bool is_ruled = is_first_ruled();
        ptx::wait_for_products<0>(s);
#pragma unroll 1
        for (bool is_first = true;; is_first = false) {
            weigh<true>(s, state.p, state, header, is_ruled);
            if (is_first)
                header.flags = flags_told(header);
            else if (state.rescales)
                rescale(state.o, state.rescale);
            while (header.flags & Ring::kMoreWhole) {
                header = wait_for_keys(state);
                advance(state, header);
            }
            if (!(header.flags & Ring::kMoreMasked)) return;
            header = wait_for_keys(state);
            is_ruled = (header.flags & KeyStep::kRuled) != 0;
            take_turn(state.consumer);
            multiply_by_keys(s, state);
            wait_for_values(state);
            ptx::wait_for_products<0>(s);
            multiply_by_values(state);
            pass_turn(state.consumer);
            ptx::wait_for_products<0>(state.o);
            release(Ring::kValuesFree, state.values);
        }
    }

    // Whether a mask rule may hide something of the first tile. The producer may still be busy with that, so consumers find out for
    // themselves, while its products are under way.
    __device__ bool is_first_ruled() const {
        if constexpr (TileScores::kMayPass)
            return blocks.template walk<kQueryTile, kKeyTile>(walk_range(ring.sequence(), ring.query_head(), ring.tile_begin())).is_first_ruled();
        else
            return true;
    }

    // O += P V of the tile before, S = Q K^T of the next one, which needs no mask, and its weights.
    __device__ void advance(State& state, const Header& header) const {
        Scores s;
        take_turn(state.consumer);
        multiply_by_keys(s, state);
        wait_for_values(state);
        // Both products in flight at once, and the softmax after both, was measured to be slower than either.
        if constexpr (!Tuning::kOverlap) ptx::wait_for_products<0>(s);
        multiply_by_values(state);
        pass_turn(state.consumer);
        if constexpr (Tuning::kOverlap) {
            Weights next;
            ptx::wait_for_products<1>(s);
            weigh<false>(s, next, state, header);
            ptx::wait_for_products<0>(state.o);
            release(Ring::kValuesFree, state.values);
            // A bit that is 0, of a lane's own word: one that is the same in all lanes would be copied for each register here.
            ptx::move_operand(state.p, next, static_cast<unsigned>(state.first_row) & 1u << 31);
        } else {
            ptx::wait_for_products<0>(state.o);
            release(Ring::kValuesFree, state.values);
            weigh<false>(s, state.p, state, header);
        }
        if (state.rescales) rescale(state.o, state.rescale);
    }

    __device__ void start_queries(int consumer) const {
        copy_queries<Element>(ring.query_tile(consumer), problem, rows, b, h, tile_begin + consumer * kConsumerRows, thread);
        ptx::commit_copies();
    }
    __device__ static void wait_for_queries(int consumer) {
        ptx::wait_for_copies<0>();
        ptx::fence_async_proxy();
        ptx::sync_named(kConsumerBarrier + consumer, kWarpgroup);
    }

    __device__ static void take_turn(int consumer) {
        if constexpr (Tuning::kTakeTurns) ptx::sync_named(kTurnBarrier + consumer, 2 * kWarpgroup);
    }
    __device__ static void pass_turn(int consumer) {
        if constexpr (Tuning::kTakeTurns) ptx::arrive_named(kTurnBarrier + (consumer + 1) % kConsumers, 2 * kWarpgroup);
    }

    __device__ Header wait_for_keys(const State& state) const {
        const int stage = state.keys.stage;
        ptx::wait(ring.barrier(Ring::kKeysFull, stage), state.keys.parity);
        fence_copied_rows();
        return ring.header(stage);
    }

    // The flags of the first tile, when all of them are known.
    __device__ unsigned flags_told(const Header& header) const {
        if (!Blocks::kFirstAhead || !(header.flags & KeyStep::kFirst)) return header.flags;
        ptx::wait(ring.told_barrier(), 0);
        return ring.told();
    }

    __device__ void wait_for_values(const State& state) const {
        ptx::wait(ring.barrier(Ring::kValuesFull, state.values.stage), state.values.parity);
        fence_copied_rows();
    }

    __device__ static void fence_copied_rows() {
        if constexpr (Producer::kFencedByConsumers) ptx::fence_async_proxy();
    }

    // By every thread, for itself: when its products are done, other warps of the warpgroup may still be reading.
    __device__ void release(Barrier which, Slot& slot) const {
        ptx::arrive(ring.barrier(which, slot.stage));
        slot.advance();
    }

    __device__ void multiply_by_keys(Scores& s, const State& state) const {
        const QueryTile queries = ring.query_tile(state.consumer);
        const auto keys = ring.key_tile(state.keys.stage);
        ptx::pin(s);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kHeadDim / 16; step++)
            ScoreProduct::multiply_shared(s, queries.along_columns(step), keys.along_columns(step), step > 0);
        ptx::commit_products();
    }

    __device__ void multiply_by_values(State& state) const {
        const auto values = ring.value_tile(state.values.stage);
        ptx::pin(state.o);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kKeyTile / 16; step++)
            ResultProduct::multiply_registers(state.o, state.p[step], values.along_rows(step));
        ptx::commit_products();
    }

    // Scores to weights p. Releases the keys.
    template <bool kMasked>
    __device__ void weigh(Scores& s, Weights& p, State& state, const Header& header, bool is_ruled = true) const {
        if constexpr (!kKeepsPositions) release(Ring::kKeysFree, state.keys);
        scores().template apply<kMasked>(s, state.first_row, state.keys.stage, header, is_ruled);
        if constexpr (kKeepsPositions) release(Ring::kKeysFree, state.keys);
        // The first tiles may lie beyond a row's diagonal.
        constexpr bool kGuarded = kMasked || TileScores::kGuardsEverywhere;
        if constexpr (Tuning::kAhead && !kMasked) {
            state.rescales = state.softmax.template weigh_ahead<Element, kGuarded>(0, s, p, scores().softmax_factor(), state.rescale);
        } else {
            state.rescales = state.softmax.template weigh<kGuarded>(0, s, scores().softmax_factor(), state.rescale);
            ptx::pack_operand<Element>(p, s);
            // Or the compiler would put the exponentials behind the next wait.
            if constexpr (Tuning::kOverlap && !kMasked) ptx::pin(p);
        }
    }

    // Made where it is asked, like the results.
    __device__ TileScores scores() const { return {problem, score, blocks, rows, b, h, g, ring}; }
};

}  // namespace attn
