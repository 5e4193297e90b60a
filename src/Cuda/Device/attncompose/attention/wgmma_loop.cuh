// The attention main loop for sm_90a: wgmma fed through a ring in shared memory, by a producer warpgroup that only copies
// and consumer warpgroups that only compute (FlashAttention-3, arXiv 2407.08608). One block owns kQueryTile queries of one
// query head, 64 a consumer, and walks the keys that they see in tiles of kKeyTile, from the diagonal to the first key.
//
//   b, h, g        sequence, query head, key/value head
//   i, j           query, key among the rows that take part (hooks.cuh); row of a tile where it is local
//   Q K V O        [queries, d], [keys, d], [keys, d], [queries, d];  d = kHeadDim
//   S = Q K^T      then scale, score hook and mask
//   P = 2^(c (S - m))   m the largest S of the row so far, c = scale log2(e);  O = sum of P V, l = sum of P;  result O / l
//   diagonal       query i sees key j if j <= i + key_count - query_count
//   full, free     mbarriers of a stage of the ring: its tile is there; its tile has been read
//   header         what the producer tells the consumers of a tile, so that the order of tiles is its business alone
//
// The tiles that need a mask come first, so that the hot loop has none. Each of its steps multiplies S of one tile and O of the
// one before. The softmax runs beside products: those of the other consumers, which take turns in issuing theirs, and, where
// kOverlap says so, the consumer's own O, which is then still in flight.
//
// cp.async writes through the generic proxy and wgmma reads through the other: a fence stands between them. The copy engine
// needs none. Rows of keys and values past key_count are zeroes, not only masked: 0 * NaN would be NaN. The copy engine
// fills with zeroes only past the tensor, so a tile that key_count cuts inside it is copied by rows.
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/attention/online_softmax.cuh>
#include <attncompose/slab_tile.cuh>

namespace attn {

// Head dims whose tiles and accumulators were fitted; the portable loop takes the others.
template <int kHeadDim>
inline constexpr bool kHasWgmmaLoop = kHeadDim == 64 || kHeadDim == 96 || kHeadDim == 128 || kHeadDim == 192 || kHeadDim == 256;

// What was measured to be fastest on an H200. A lane of a consumer holds (kKeyTile + kHeadDim) / 2 accumulators and
// kKeyTile / 4 registers of weights, at the same time where it overlaps; a rule wants registers too.
template <int kHeadDim, bool kMapped, bool kHasRule>
struct WgmmaTuning {
    static constexpr int kConsumers = kHeadDim <= 96 ? 3 : 2;
    static constexpr bool kWideTile = kHeadDim == 128 || (kHeadDim == 64 && kMapped && !kHasRule);
    static constexpr int kKeyTile = kWideTile ? 128 : kHeadDim == 256 ? 80 : 96;
    static constexpr int kStages = kHeadDim <= 128 && !kMapped ? 3 : 2;
    // The softmax of one tile beside the value product of the one before.
    static constexpr bool kOverlap = kHeadDim > 128 && !kHasRule;
    // Consumers issue their products by turns.
    static constexpr bool kTakeTurns = !kOverlap;
    // Of a lane of the producer, which needs more of them to copy by rows.
    static constexpr int kProducerRegisters = !kMapped ? 56 : kConsumers == 3 && kWideTile ? 32 : 40;
};

// Whether a row source offers the tensors to the copy engine.
template <typename Rows>
inline constexpr bool kHasMaps = requires(const Rows source) { source.maps; };

template <typename Config, RowSource Rows, ScoreHook Score, RowDestination Destination,
          typename Tuning = WgmmaTuning<Config::kHeadDim, kHasMaps<Rows>, !Score::kIdentity>>
struct WgmmaLoop {
    using Element = typename Config::Element;
    using Output = typename Config::Output;
    static_assert(attn::Element<Element> && OutputElement<Output, Element>);

    static constexpr int kHeadDim = Config::kHeadDim;
    static_assert(kHasWgmmaLoop<kHeadDim>);

    static constexpr int kConsumers = Tuning::kConsumers;
    static constexpr int kConsumerRows = 64;
    static constexpr int kQueryTile = kConsumers * kConsumerRows;
    static constexpr int kKeyTile = Tuning::kKeyTile;
    static constexpr int kStages = Tuning::kStages;
    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr bool kMapped = kHasMaps<Rows>;
    static constexpr bool kKeepsPositions = kIndexed && !Score::kIdentity;
    static_assert(!kIndexed || !kMapped);

    // The warpgroups share out 512 registers among lanes of equal number, in eights.
    static constexpr int kProducerRegisters = Tuning::kProducerRegisters;
    static constexpr int kConsumerRegisters = (512 - kProducerRegisters) / kConsumers / 8 * 8;

    using QueryTile = SlabTile<kConsumerRows, kHeadDim>;
    using KeyTile = SlabTile<kKeyTile, kHeadDim>;

    // Of a tile in the ring; written with its keys. The first tile is always masked.
    struct Header {
        int key_base;  // its first key
        unsigned flags;
    };
    static constexpr unsigned kMore = 1;        // another tile follows,
    static constexpr unsigned kMoreMasked = 2;  // which needs a mask
    static constexpr unsigned kEmpty = 4;       // there is no tile at all

    // Barriers of a stage. They are full by the arrival of all copies and of thread 0, which wrote the header; free by that
    // of every consumer's thread.
    enum Barrier { kKeysFull, kValuesFull, kKeysFree, kValuesFree, kBarriers };
    static constexpr int kFullArrivals = kWarpgroup + 1;
    static constexpr int kFreeArrivals = kConsumers * kWarpgroup;

    // Named barriers: one to synchronise each consumer, one for each consumer's turn.
    static constexpr int kConsumerBarrier = 1, kTurnBarrier = kConsumerBarrier + kConsumers;

    static constexpr int kThreads = (1 + kConsumers) * kWarpgroup;
    static constexpr int kTile = kQueryTile;
    static constexpr int kKeysOffset = kConsumers * QueryTile::kBytes;
    static constexpr int kValuesOffset = kKeysOffset + kStages * KeyTile::kBytes;
    static constexpr int kBarriersOffset = kValuesOffset + kStages * KeyTile::kBytes;
    static constexpr int kHeadersOffset = kBarriersOffset + kStages * kBarriers * 8;
    static constexpr int kPositionsOffset = kHeadersOffset + kStages * static_cast<int>(sizeof(Header));
    static constexpr int kSharedBytes = kPositionsOffset + (kKeepsPositions ? kStages * kKeyTile * 4 : 0);
    static_assert(kSharedBytes <= 227 * 1024);

    using Softmax = OnlineSoftmax<1>;
    using Scores = float[kKeyTile / 8][4];
    using Results = float[kHeadDim / 8][4];
    using Weights = unsigned[kKeyTile / 16][4];  // A operands
    using ScoreProduct = ptx::Wgmma<Element, kKeyTile>;
    using ResultProduct = ptx::Wgmma<Element, kHeadDim>;

    // A place in the ring, and the parity of its barriers' phase.
    struct Slot {
        int stage = 0;
        unsigned parity = 0;

        __device__ void advance() {
            if (++stage == kStages) {
                stage = 0;
                parity ^= 1;
            }
        }
    };

    const Problem& problem;
    const Rows& source;
    const Score& score;
    const Destination& destination;
    int b, h, g;
    HeadRows<kIndexed> rows;
    int tile_begin;  // first query of the tile
    unsigned shared;
    int thread;  // of the warpgroup

    // The last phase of its kernel, which has __launch_bounds__(kThreads, 1): the warpgroups part here.
    static __device__ void run(const Problem& problem, const Rows& source, const Score& score, const Destination& destination,
                               unsigned char* shared) {
        const auto [b, h, tile] = work_of_block(problem);
        const WgmmaLoop loop{problem,
                             source,
                             score,
                             destination,
                             b,
                             h,
                             problem.key_value_head(h),
                             source.rows(problem, sequence_of(problem, b), b, h),
                             tile * kQueryTile,
                             ptx::shared_address(shared),
                             static_cast<int>(threadIdx.x) % kWarpgroup};
        if (threadIdx.x == 0) loop.init_barriers();
        __syncthreads();

        const bool has_queries = loop.tile_begin < loop.rows.query_count;
        // Taken from lane 0 so that the compiler knows it to be the same in all lanes.
        const int warpgroup = __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
        if (warpgroup == 0) {
            ptx::shrink_registers<kProducerRegisters>();
            if (has_queries) loop.produce();
            loop.fill_skipped_rows();
        } else {
            ptx::grow_registers<kConsumerRegisters>();
            if (has_queries) loop.consume(warpgroup - 1);
        }
    }

    // Which query tile of which head this block computes. Blocks start in order of their index: the tiles at the end, which
    // see the most keys, come first, of as many heads at a time as their keys and values fit the L2 cache together, query
    // heads that share them side by side.
    struct Work {
        int b, h, tile;
    };
    static __device__ Work work_of_block(const Problem& problem) {
        constexpr long long kCacheBytes = 32 << 20;
        const int tiles = static_cast<int>(gridDim.x), heads = static_cast<int>(gridDim.y * gridDim.z);
        const int index = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
        const long long head_bytes = 2ll * problem.key_length * kHeadDim * static_cast<int>(sizeof(Element));
        const int sharing = problem.query_heads / problem.key_value_heads;
        const long long cached_heads = largest(kCacheBytes / largest(head_bytes, 1ll), 1ll) * sharing;
        const int cached = static_cast<int>(least<long long>(cached_heads, heads));
        const int first_head = index / (tiles * cached) * cached;
        const int section = least(cached, heads - first_head);
        const int in_section = index - first_head * tiles;
        const int head = first_head + in_section % section, tile = in_section / section;
        return {head / problem.query_heads, head % problem.query_heads, Config::kCausal ? tiles - 1 - tile : tile};
    }

    __device__ QueryTile query_tile(int consumer) const { return {shared + consumer * QueryTile::kBytes}; }
    __device__ KeyTile key_tile(int stage) const { return {shared + kKeysOffset + stage * KeyTile::kBytes}; }
    __device__ KeyTile value_tile(int stage) const { return {shared + kValuesOffset + stage * KeyTile::kBytes}; }
    __device__ unsigned barrier(Barrier which, int stage) const {
        return shared + kBarriersOffset + (stage * kBarriers + which) * 8;
    }
    __device__ unsigned header_address(int stage) const { return shared + kHeadersOffset + stage * sizeof(Header); }
    __device__ unsigned positions_address(int stage) const { return shared + kPositionsOffset + stage * kKeyTile * 4; }

    __device__ void init_barriers() const {
#pragma unroll
        for (int stage = 0; stage < kStages; stage++) {
            ptx::init_barrier(barrier(kKeysFull, stage), kFullArrivals);
            ptx::init_barrier(barrier(kValuesFull, stage), kFullArrivals);
            ptx::init_barrier(barrier(kKeysFree, stage), kFreeArrivals);
            ptx::init_barrier(barrier(kValuesFree, stage), kFreeArrivals);
        }
        ptx::fence_barrier_init();
    }

    // Last key that query i sees; below 0 where it sees none.
    __device__ int last_key(int i) const {
        return Config::kCausal ? least(i + rows.key_count - rows.query_count, rows.key_count - 1) : rows.key_count - 1;
    }

    // ---- Producer -------------------------------------------------------------------------------------------------------

    // Positions of the rows of a key tile that this thread copies.
    struct RowPositions {
        int of[kIndexed ? KeyTile::kRowsOfThread : 1];
    };

    __device__ void produce() const {
        const int last_query = least(tile_begin + kQueryTile, rows.query_count) - 1;
        const int tiles = divide_up(last_key(last_query) + 1, kKeyTile);
        const int whole_tiles = (last_key(tile_begin) + 1) / kKeyTile;
        if (tiles <= 0) {
            put_header(0, {0, kEmpty});
            ptx::arrive(barrier(kKeysFull, 0));
            if (thread == 0) ptx::arrive(barrier(kKeysFull, 0));
            return;
        }
        // The copy engine is asked by one thread; the other warps are needed for a cut tile alone.
        if (kMapped && !is_cut(tiles - 1) && thread >= kWarp) return;
        Tensor keys{head_of(problem.key, problem.key_strides), row_bytes(problem.key_strides), nullptr};
        Tensor values{head_of(problem.value, problem.value_strides), row_bytes(problem.value_strides), nullptr};
        if constexpr (kMapped) {
            keys.map = &source.maps->key;
            values.map = &source.maps->value;
            ptx::prefetch_map(keys.map);
            ptx::prefetch_map(values.map);
        }
        Slot slot;
        RowPositions positions = positions_of(tiles - 1);
        for (int tile = tiles - 1; tile >= 0; tile--) {
            const unsigned flags = tile == 0 ? 0 : tile - 1 < whole_tiles ? kMore : kMore | kMoreMasked;
            ptx::wait(barrier(kKeysFree, slot.stage), slot.parity ^ 1);
            put_header(slot.stage, {tile * kKeyTile, flags});
            if constexpr (kKeepsPositions) start_positions(slot.stage, tile);
            start(keys, key_tile(slot.stage), tile, positions, barrier(kKeysFull, slot.stage));
            ptx::wait(barrier(kValuesFree, slot.stage), slot.parity ^ 1);
            start(values, value_tile(slot.stage), tile, positions, barrier(kValuesFull, slot.stage));
            positions = positions_of(tile - 1);
            slot.advance();
        }
    }

    // Before this thread's arrival.
    __device__ void put_header(int stage, Header header) const {
        if (thread != 0) return;
        ptx::store_word(header_address(stage), static_cast<unsigned>(header.key_base));
        ptx::store_word(header_address(stage) + 4, header.flags);
    }

    __device__ RowPositions positions_of(int tile) const {
        RowPositions positions = {};
        if constexpr (kIndexed) {
#pragma unroll
            for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
                const int j = tile * kKeyTile + KeyTile::row_of_thread(thread, n);
                positions.of[n] = j >= 0 && j < rows.key_count ? rows.positions[j] : 0;
            }
        }
        return positions;
    }

    __device__ void start_positions(int stage, int tile) const {
        static_assert(kKeyTile <= kWarpgroup);
        const int j = tile * kKeyTile + thread;
        if (thread >= kKeyTile) return;
        const bool valid = j < rows.key_count;
        ptx::copy_word_async(positions_address(stage) + thread * 4, rows.positions + (valid ? j : 0), valid);
    }

    // Whether key_count cuts a tile where a tensor map does not.
    __device__ bool is_cut(int tile) const {
        return (tile + 1) * kKeyTile > rows.key_count && (!kMapped || rows.key_count < problem.key_length);
    }

    // One head of a tensor, by rows and, if mapped, for the copy engine.
    struct Tensor {
        const unsigned char* head;
        long long row_bytes;
        const TensorMap* map;
    };
    __device__ const unsigned char* head_of(const void* tensor, const Strides& strides) const {
        return static_cast<const unsigned char*>(tensor) + strides.at(b, g) * static_cast<long long>(sizeof(Element));
    }
    __device__ static long long row_bytes(const Strides& strides) {
        return strides.row * static_cast<long long>(sizeof(Element));
    }

    __device__ void start(const Tensor& from, const KeyTile& to, int tile, const RowPositions& positions, unsigned full) const {
        const bool cut = is_cut(tile);
        if constexpr (kMapped) {
            if (!cut) {
                if (thread == 0) {
                    ptx::arrive_expecting(full, KeyTile::kBytes);
                    ptx::copy_box_async(to.base, from.map, full, 0, tile * kKeyTile, 0, g, b);
                    ptx::arrive(full, kFullArrivals - 1);
                }
                return;
            }
        }
        if (cut)
            copy_rows<true>(from, to, tile, positions);
        else
            copy_rows<false>(from, to, tile, positions);
        if constexpr (kMapped) {
            // The consumers do not fence what the copy engine brings, so this thread does.
            ptx::commit_copies();
            ptx::wait_for_copies<0>();
            ptx::fence_async_proxy();
            ptx::arrive(full);
        } else {
            ptx::arrive_after_copies(full);
        }
        if (thread == 0) ptx::arrive(full);
    }

    template <bool kCut>
    __device__ void copy_rows(const Tensor& from, const KeyTile& to, int tile, const RowPositions& positions) const {
#pragma unroll
        for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
            const int j = tile * kKeyTile + KeyTile::row_of_thread(thread, n);
            const bool valid = !kCut || j < rows.key_count;
            const int position = kIndexed ? positions.of[kIndexed ? n : 0] : valid ? j : 0;
            to.copy_row_async(thread, n, from.head + position * from.row_bytes, valid);
        }
    }

    // ---- Consumers ------------------------------------------------------------------------------------------------------

    // What a consumer has in registers.
    struct State {
        int consumer;
        int first_row;  // this lane's first query of two, eight apart
        Slot keys, values;
        Softmax softmax;
        float rescale[2];
        Results o;
        Weights p;
    };

    __device__ void consume(int consumer) const {
        load_queries(consumer);
        State state;
        state.consumer = consumer;
        state.first_row = tile_begin + consumer * kConsumerRows + thread / kWarp * 16 + lane_id() / 4;
#pragma unroll
        for (int n = 0; n < kHeadDim / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) state.o[n][e] = 0;
        if (Tuning::kTakeTurns && consumer == kConsumers - 1) pass_turn(consumer);

        Header header = wait_for_keys(state);
        if (!(header.flags & kEmpty)) {
            {
                Scores s;
                multiply_by_keys(s, state);
                ptx::wait_for_products<0>(s);
                weigh<true>(s, state, header);
                pack(state.p, s);
            }
            while (header.flags & kMoreMasked) step<true>(state, header);
            while (header.flags & kMore) step<false>(state, header);
            wait_for_values(state);
            multiply_by_values(state);
            ptx::wait_for_products<0>(state.o);
        }
        state.softmax.finish();
        store(state);
    }

    // O += P V of the tile before, S = Q K^T of the next one, and its weights.
    template <bool kMasked>
    __device__ void step(State& state, Header& header) const {
        Scores s;
        header = wait_for_keys(state);
        take_turn(state.consumer);
        multiply_by_keys(s, state);
        wait_for_values(state);
        // Both products in flight at once, and the softmax after both, was measured to be slower than either.
        if constexpr (!Tuning::kOverlap) ptx::wait_for_products<0>(s);
        multiply_by_values(state);
        pass_turn(state.consumer);
        if constexpr (Tuning::kOverlap) {
            ptx::wait_for_products<1>(s);
            weigh<kMasked>(s, state, header);
            ptx::pin(s);  // or the compiler would put the exponentials behind the next wait
        }
        ptx::wait_for_products<0>(state.o);
        release(kValuesFree, state.values);
        if constexpr (!Tuning::kOverlap) weigh<kMasked>(s, state, header);
        pack(state.p, s);
        rescale(state.o, state.rescale);
    }

    __device__ void load_queries(int consumer) const {
        const QueryTile to = query_tile(consumer);
        const auto* base = static_cast<const unsigned char*>(problem.query);
        const long long head = problem.query_strides.at(b, h);
#pragma unroll
        for (int n = 0; n < QueryTile::kRowsOfThread; n++) {
            const int i = tile_begin + consumer * kConsumerRows + QueryTile::row_of_thread(thread, n);
            const bool valid = i < rows.query_count;
            const long long row = valid ? rows.query_row(i) : 0;
            const auto* from = base + (head + row * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
            to.copy_row_async(thread, n, from, valid);
        }
        ptx::commit_copies();
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
        ptx::wait(barrier(kKeysFull, stage), state.keys.parity);
        fence_copied_rows();
        return {ptx::load_word(header_address(stage)), static_cast<unsigned>(ptx::load_word(header_address(stage) + 4))};
    }

    __device__ void wait_for_values(const State& state) const {
        ptx::wait(barrier(kValuesFull, state.values.stage), state.values.parity);
        fence_copied_rows();
    }

    __device__ static void fence_copied_rows() {
        if constexpr (!kMapped) ptx::fence_async_proxy();
    }

    // By every thread, for itself: when its products are done, other warps of the warpgroup may still be reading.
    __device__ void release(Barrier which, Slot& slot) const {
        ptx::arrive(barrier(which, slot.stage));
        slot.advance();
    }

    __device__ void multiply_by_keys(Scores& s, const State& state) const {
        const QueryTile queries = query_tile(state.consumer);
        const KeyTile keys = key_tile(state.keys.stage);
        ptx::pin(s);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kHeadDim / 16; step++)
            ScoreProduct::multiply_shared(s, queries.along_columns(step), keys.along_columns(step), step > 0);
        ptx::commit_products();
    }

    __device__ void multiply_by_values(State& state) const {
        const KeyTile values = value_tile(state.values.stage);
        ptx::pin(state.o);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kKeyTile / 16; step++)
            ResultProduct::multiply_registers(state.o, state.p[step], values.along_rows(step));
        ptx::commit_products();
    }

    // Scores to weights. Releases the keys.
    template <bool kMasked>
    __device__ void weigh(Scores& s, State& state, const Header& header) const {
        if constexpr (!kKeepsPositions) release(kKeysFree, state.keys);
        apply_score_and_mask<kMasked>(s, state, header);
        if constexpr (kKeepsPositions) release(kKeysFree, state.keys);
        // The first tiles may lie beyond a row's diagonal.
        state.softmax.template weigh<kMasked || !Score::kIdentity>(0, s, softmax_factor(), state.rescale);
    }

    // The scale is left to the softmax, as a factor of its exponents, where nothing stands between and where it keeps the
    // order of scores and turns no -inf into NaN.
    __device__ bool scale_in_softmax() const { return Score::kIdentity && problem.scale > 0; }
    __device__ float softmax_factor() const { return scale_in_softmax() ? problem.scale * kLog2E : 1; }

    template <bool kMasked>
    __device__ void apply_score_and_mask(Scores& s, const State& state, const Header& header) const {
        if (!scale_in_softmax()) {
            const float factor = Score::kIdentity ? problem.scale * kLog2E : problem.scale;
#pragma unroll
            for (int n = 0; n < kKeyTile / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[n][e] *= factor;
        }
        if constexpr (kMasked || !Score::kIdentity) apply_rule_and_mask<kMasked>(s, state, header);
    }

    template <bool kMasked>
    __device__ void apply_rule_and_mask(Scores& s, const State& state, const Header& header) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = state.first_row + 8 * half;
            const int first_column = 2 * (lane_id() % 4);
            const int last = last_key(i) - header.key_base - first_column;
            ScorePosition at{b, h, g, 0, 0};
            if constexpr (!Score::kIdentity)
                at.query = rows.first_query + rows.query_row(least(i, rows.query_count - 1));
#pragma unroll
            for (int n = 0; n < kKeyTile / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float& value = s[n][2 * half + e];
                    if (kMasked && 8 * n + e > last) {
                        value = -kInfinity;
                    } else if constexpr (!Score::kIdentity) {
                        at.key = key_position(state, header, first_column + 8 * n + e);
                        value = score.apply(value, at) * kLog2E;
                    }
                }
            }
        }
    }

    __device__ int key_position(const State& state, const Header& header, int row) const {
        if constexpr (kIndexed)
            return ptx::load_word(positions_address(state.keys.stage) + static_cast<unsigned>(row) * 4);
        else
            return header.key_base + row;
    }

    // The accumulators of two neighbouring groups of eight keys are, packed, the A operand of 16 keys.
    __device__ static void pack(Weights& p, const Scores& s) {
#pragma unroll
        for (int step = 0; step < kKeyTile / 16; step++) {
            p[step][0] = ptx::pack<Element>(s[2 * step][0], s[2 * step][1]);
            p[step][1] = ptx::pack<Element>(s[2 * step][2], s[2 * step][3]);
            p[step][2] = ptx::pack<Element>(s[2 * step + 1][0], s[2 * step + 1][1]);
            p[step][3] = ptx::pack<Element>(s[2 * step + 1][2], s[2 * step + 1][3]);
        }
    }

    // ---- Results --------------------------------------------------------------------------------------------------------

    // Made where it is needed, so that the loop has its registers.
    __device__ auto output_rows() const { return destination.rows(problem, sequence_of(problem, b), b, h); }

    __device__ Output* output_at(int row) const {
        return static_cast<Output*>(problem.output) + problem.output_strides.at(b, h) + row * problem.output_strides.row;
    }
    __device__ void store_log_sum_exp(int row, float value) const {
        const Strides& strides = problem.log_sum_exp_strides;
        problem.log_sum_exp[strides.at(b, h) + row * strides.row] = value;
    }

    __device__ void store(State& state) const {
        const auto to_rows = output_rows();
        const float normalizers[2] = {state.softmax.normalizer(0, 0), state.softmax.normalizer(0, 1)};
        rescale(state.o, normalizers);
        if (problem.log_sum_exp && lane_id() % 4 == 0) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int i = state.first_row + 8 * half;
                if (i < rows.query_count)
                    store_log_sum_exp(to_rows.query_row(i), state.softmax.log_sum_exp(0, half, softmax_factor()));
            }
        }
        if constexpr (kSame<Output, float>)
            store_floats(state, to_rows);
        else
            store_elements(state, to_rows);
    }

    // Four lanes store the 32 bytes of a memory sector.
    template <typename OutputRows>
    __device__ void store_floats(const State& state, const OutputRows& to_rows) const {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = state.first_row + 8 * half;
            if (i >= rows.query_count) continue;
            float* to = output_at(to_rows.query_row(i)) + 2 * (lane_id() % 4);
#pragma unroll
            for (int n = 0; n < kHeadDim / 8; n++)
                *reinterpret_cast<float2*>(to + 8 * n) = make_float2(state.o[n][2 * half], state.o[n][2 * half + 1]);
        }
    }

    // Through shared memory, in place of the queries, so that each row leaves in whole chunks.
    template <typename OutputRows>
    __device__ void store_elements(const State& state, const OutputRows& to_rows) const {
        constexpr int kRowChunks = kHeadDim / kChunkElements, kWarpRows = kConsumerRows / 4;
        const QueryTile staging = query_tile(state.consumer);
        const int first = thread / kWarp * kWarpRows;
        // Until here other warps' products may have been reading the queries.
        ptx::sync_named(kConsumerBarrier + state.consumer, kWarpgroup);
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int n = 0; n < kRowChunks; n++)
                ptx::store_word(staging.address(first + 8 * half + lane_id() / 4, n) + lane_id() % 4 * 4,
                                ptx::pack<Element>(state.o[n][2 * half], state.o[n][2 * half + 1]));
        }
        __syncwarp();
        for (int index = lane_id(); index < kWarpRows * kRowChunks; index += kWarp) {
            const int row = first + index / kRowChunks, chunk = index % kRowChunks;
            const int i = tile_begin + state.consumer * kConsumerRows + row;
            if (i < rows.query_count)
                reinterpret_cast<Chunk*>(output_at(to_rows.query_row(i)))[chunk] =
                    ptx::load_chunk(staging.address(row, chunk));
        }
    }

    // Rows of the output that no query belongs to, in this tile's range of the original sequence. By the producer, which is
    // the block's first warpgroup and has time.
    __device__ void fill_skipped_rows() const {
        constexpr int kRowChunks = kHeadDim * static_cast<int>(sizeof(Output)) / kChunkBytes;
        const int end = least(tile_begin + kQueryTile, problem.query_length);
        output_rows().template for_each_skipped<kWarpgroup / kWarp, kQueryTile>(tile_begin, end, [&](int row) {
            auto* to = reinterpret_cast<Chunk*>(output_at(row));
            for (int chunk = lane_id(); chunk < kRowChunks; chunk += kWarp) to[chunk] = Chunk{};
            if (problem.log_sum_exp && lane_id() == 0) store_log_sum_exp(row, -kInfinity);
        });
    }
};

}  // namespace attn
