// The softmax of window_softmax.cuh by wgmma (sm_90a). A block owns a segment of the keys of one key/value head. The window's
// queries of as many query heads as fit stay in its shared memory, and the keys pass by once for all of them, through a ring
// that one more warpgroup fills.
//
//   query tile     kQueryRows window rows of a head; a head's rows are padded with zeroes to whole tiles
//   slot           place of a query tile; a head that has more tiles than there are slots takes several rounds over the keys
//   RowPartials    S = Q K^T of 64 rows against a tile of keys: a lane has whole parts of two rows
//   ColumnScores   its transpose, K Q^T, of 64 keys against a query tile: a lane has parts of two keys, and sums over the
//                  window's rows stay in its registers
//
// Consumers take turns in issuing products, so that the exponentials of some run beside the products of others.
#pragma once

#include <attncompose/attention/wgmma_ring.cuh>
#include <attncompose/selection/window.cuh>

namespace attn {

template <typename Config>
struct WgmmaWindow {
    using Element = typename Config::Element;
    static_assert(attn::Element<Element>);
    static constexpr int kHeadDim = Config::kHeadDim, kWindow = Config::kWindow;

    static constexpr int kProductRows = 64;
    static constexpr int kConsumers = 4, kConsumerThreads = kConsumers * kWarpgroup;
    static constexpr int kThreads = kConsumerThreads + kWarpgroup;  // and the producer's
    // Of a lane; the warpgroups share out the 96 of each lane that the block begins with.
    static constexpr int kProducerRegisters = 64, kConsumerRegisters = 104;
    static constexpr int kKeyTile = kHeadDim <= 128 ? 128 : 64;
    static constexpr int kStages = 2;

    static constexpr int kHeadBlocks = divide_up(kWindow, kProductRows);
    static constexpr int kQueryRows = kHeadBlocks % 2 == 0 ? 2 * kProductRows : kProductRows;
    static constexpr int kHeadTiles = kHeadBlocks * kProductRows / kQueryRows;
    static constexpr int kRoom = (kHeadDim <= 128 ? 512 : 256) / kQueryRows;  // query tiles that fit
    static constexpr int kHeads = largest(1, kRoom / kHeadTiles);
    static constexpr int kSlots = kHeadTiles <= kRoom ? kHeads * kHeadTiles : kRoom;
    static constexpr int kRounds = divide_up(kHeadTiles, kSlots);  // above 1 only where kHeads is 1

    using QueryTile = SlabTile<kQueryRows, kHeadDim>;
    using KeyTile = SlabTile<kKeyTile, kHeadDim>;

    enum Barrier { kFull, kFree, kBarriers };
    static constexpr int kKeysOffset = kSlots * QueryTile::kBytes;
    static constexpr int kExponentsOffset = kKeysOffset + kStages * KeyTile::kBytes;
    static constexpr int kBarriersOffset = kExponentsOffset + kSlots * kQueryRows * static_cast<int>(sizeof(float));
    static constexpr int kSharedBytes = kBarriersOffset + kStages * kBarriers * 8;
    static_assert(kSharedBytes <= 227 * 1024);

    static constexpr int kConsumersBarrier = 1, kTurnBarrier = 2;  // named barriers

    // A place in the ring, and the parity of its barriers' phase.
    struct Place {
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
    ScoredHeads<kHeads> heads;
    int b;
    Sequence sequence;
    int rows;  // of the window, valid
    Segment segment;
    unsigned shared;
    // [kSlots, kQueryRows]: the exponent x with which 2^(S - x) is a row's probability over the rows of the window; +inf for
    // a row that is none.
    float* exponents;

    // Walks all keys, or those of the prefix. All threads call it.
    __device__ WgmmaWindow(const Problem& problem, bool prefix_only, unsigned char* memory)
        : problem(problem),
          heads(problem),
          b(static_cast<int>(blockIdx.z)),
          sequence(sequence_of(problem, b)),
          rows(window_rows<kWindow>(sequence)),
          segment(Segment::of_block<kKeyTile>(prefix_only ? prefix_length<kWindow>(sequence) : sequence.key_length)),
          shared(ptx::shared_address(memory)),
          exponents(reinterpret_cast<float*>(memory + kExponentsOffset)) {
        if (threadIdx.x == 0) {
            for (int stage = 0; stage < kStages; stage++) {
                ptx::init_barrier(barrier(kFull, stage), kWarpgroup);
                ptx::init_barrier(barrier(kFree, stage), kConsumerThreads);
            }
            ptx::fence_barrier_init();
        }
        __syncthreads();
    }

    __device__ unsigned barrier(Barrier which, int stage) const {
        return shared + kBarriersOffset + (stage * kBarriers + which) * 8;
    }
    __device__ QueryTile query_tile(int slot) const { return {shared + slot * QueryTile::kBytes}; }
    __device__ KeyTile key_tile(int stage) const { return {shared + kKeysOffset + stage * KeyTile::kBytes}; }

    // Taken from lane 0 so that the compiler knows it to be the same in all lanes. kConsumers is the producer's.
    static __device__ int warpgroup() { return __shfl_sync(kAllLanes, static_cast<int>(threadIdx.x) / kWarpgroup, 0); }

    // Head of a slot, counted from heads.first, and its first window row in this round.
    static __device__ int head_of(int slot) { return kRounds == 1 ? slot / kHeadTiles : 0; }
    static __device__ int row_of_slot(int slot, int round) {
        return (kRounds == 1 ? slot % kHeadTiles : round * kSlots + slot) * kQueryRows;
    }
    // Whether any of 64 rows from `row` of a slot on is a valid one.
    __device__ bool has_rows(int slot, int row, int round) const {
        return head_of(slot) < heads.count && row_of_slot(slot, round) + row < rows;
    }

    // ---- Producer -------------------------------------------------------------------------------------------------------

    __device__ void produce() const {
        const auto* head = static_cast<const unsigned char*>(problem.key) +
                           problem.key_strides.at(b, heads.g) * static_cast<long long>(sizeof(Element));
        const long long row_bytes = problem.key_strides.row * static_cast<long long>(sizeof(Element));
        const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
        Place place;
        for (int round = 0; round < kRounds; round++) {
            for (int tile = segment.begin; tile < segment.end; tile++) {
                ptx::wait(barrier(kFree, place.stage), place.parity ^ 1);
                const KeyTile to = key_tile(place.stage);
#pragma unroll
                for (int n = 0; n < KeyTile::kRowsOfThread; n++) {
                    const int j = tile * kKeyTile + KeyTile::row_of_thread(thread, n);
                    const bool valid = j < sequence.key_length;
                    to.copy_row_async(thread, n, head + (valid ? j : 0) * row_bytes, valid);
                }
                ptx::arrive_after_copies(barrier(kFull, place.stage));
                place.advance();
            }
        }
    }

    // ---- Consumers ------------------------------------------------------------------------------------------------------

    // The query tiles of a round; all consumers share the work and wait for its end.
    __device__ void load_queries(int round) const {
        const auto* base = static_cast<const unsigned char*>(problem.query);
        const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
        sync_consumers();  // the last round has been read
        for (int slot = warpgroup(); slot < kSlots; slot += kConsumers) {
            const bool is_head = head_of(slot) < heads.count;
            const long long head = problem.query_strides.at(b, heads.first + (is_head ? head_of(slot) : 0));
#pragma unroll
            for (int n = 0; n < QueryTile::kRowsOfThread; n++) {
                const int r = row_of_slot(slot, round) + QueryTile::row_of_thread(thread, n);
                const bool valid = is_head && r < rows;
                const long long i = valid ? sequence.query_length - rows + r : 0;
                const auto* from = base + (head + i * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
                query_tile(slot).copy_row_async(thread, n, from, valid);
            }
        }
        ptx::commit_copies();
        ptx::wait_for_copies<0>();
        ptx::fence_async_proxy();
        sync_consumers();
    }

    static __device__ void sync_consumers() { ptx::sync_named(kConsumersBarrier, kConsumerThreads); }
    static __device__ void take_turn(int consumer) { ptx::sync_named(kTurnBarrier + consumer, 2 * kWarpgroup); }
    static __device__ void pass_turn(int consumer) {
        ptx::arrive_named(kTurnBarrier + (consumer + 1) % kConsumers, 2 * kWarpgroup);
    }

    __device__ void wait_for_keys(const Place& place) const {
        ptx::wait(barrier(kFull, place.stage), place.parity);
        ptx::fence_async_proxy();  // cp.async wrote them through the other proxy
    }

    // By every thread, for itself: when its products are done, other warps of the warpgroup may still be reading.
    __device__ void release_keys(Place& place) const {
        ptx::arrive(barrier(kFree, place.stage));
        place.advance();
    }

    // c = rows [a_row, a_row + 64) of a times all rows of b, transposed, when it is this consumer's turn; complete.
    template <typename A, typename B>
    static __device__ void take_turn_with(float (&c)[B::kRows / 8][4], int consumer, A a, int a_row, B b) {
        using Product = ptx::Wgmma<Element, B::kRows>;
        a.base += static_cast<unsigned>(a_row * A::kSlabRowBytes);
        take_turn(consumer);
        ptx::pin(c);
        ptx::fence_products();
#pragma unroll
        for (int step = 0; step < kHeadDim / 16; step++)
            Product::multiply_shared(c, a.along_columns(step), b.along_columns(step), step > 0);
        ptx::commit_products();
        pass_turn(consumer);
        ptx::wait_for_products<0>(c);
    }

    // A turn without a product.
    __device__ void skip_turn(int consumer, bool releases, Place& place) const {
        take_turn(consumer);
        pass_turn(consumer);
        if (releases) release_keys(place);
    }

    // What turns an accumulator into S. A factor above 0 is left to the exponent's multiply-add: it keeps the order of scores
    // and turns no -inf into NaN.
    __device__ float factor() const { return problem.scale > 0 ? problem.scale * kLog2E : 1; }
    template <int kColumns>
    __device__ void apply_scale(float (&c)[kColumns][4]) const {
        if (problem.scale > 0) return;
#pragma unroll
        for (int n = 0; n < kColumns; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) c[n][e] *= problem.scale * kLog2E;
    }
};

// Config: kHeadDim, Element, kWindow.
template <typename Config>
struct WgmmaWindowSoftmax {
    static constexpr int kWindow = Config::kWindow;
    using Window = WgmmaWindow<Config>;
    using Place = typename Window::Place;
    static constexpr int kConsumers = Window::kConsumers, kProductRows = Window::kProductRows;

    struct RowPartials {
        static constexpr int kThreads = Window::kThreads, kTile = Window::kKeyTile, kSharedBytes = Window::kSharedBytes;
        static constexpr int kSegments = kMostSegments, kHeads = Window::kHeads, kResident = 1;

        struct Arguments {
            float2* row_partials;  // [batch, query heads, kMostSegments, kWindow]
        };

        // A consumer has every kConsumers-th 64 rows of all slots.
        static constexpr int kSlotBlocks = Window::kQueryRows / kProductRows;
        static constexpr int kBlocks = Window::kSlots * kSlotBlocks;
        static constexpr int kBlocksOfConsumer = divide_up(kBlocks, kConsumers);
        using Scores = float[kTile / 8][4];
        struct Partials {
            float origin[2], sum[2];  // of this lane's two rows and its columns
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const Window window(problem, false, shared);
            ptx::start_next_kernel();
            const int consumer = Window::warpgroup();
            if (consumer == kConsumers) {
                ptx::shrink_registers<Window::kProducerRegisters>();
                window.produce();
                return;
            }
            ptx::grow_registers<Window::kConsumerRegisters>();
            if (consumer == kConsumers - 1) Window::pass_turn(consumer);
            Place keys;
            for (int round = 0; round < Window::kRounds; round++) {
                window.load_queries(round);
                Partials partials[kBlocksOfConsumer];
#pragma unroll
                for (Partials& partial : partials) partial = {{-kInfinity, -kInfinity}, {0, 0}};
                for (int tile = window.segment.begin; tile < window.segment.end; tile++)
                    add_tile(window, round, consumer, tile, keys, partials);
                store(window, round, consumer, partials, arguments.row_partials);
            }
        }

        static __device__ void add_tile(const Window& window, int round, int consumer, int tile, Place& keys,
                                        Partials (&partials)[kBlocksOfConsumer]) {
            window.wait_for_keys(keys);
#pragma unroll
            for (int i = 0; i < kBlocksOfConsumer; i++) {
                const int block = consumer + i * kConsumers;
                const int slot = block / kSlotBlocks, row = block % kSlotBlocks * kProductRows;
                const bool is_last = i == kBlocksOfConsumer - 1;
                if (block >= kBlocks || !window.has_rows(slot, row, round)) {
                    window.skip_turn(consumer, is_last, keys);
                    continue;
                }
                Scores s;
                window.take_turn_with(s, consumer, window.query_tile(slot), row, window.key_tile(keys.stage));
                if (is_last) window.release_keys(keys);
                add(window, s, Window::row_of_slot(slot, round) + row, tile * kTile, partials[i]);
            }
        }

        static __device__ void add(const Window& window, Scores& s, int first_row, int key_begin, Partials& partials) {
            window.apply_scale(s);
            const float factor = window.factor();
            const int first_seen = window.sequence.key_length - window.rows;  // row 0 sees the keys up to this one
            if (key_begin + kTile - 1 > first_seen + first_row) mask(window, s, first_row, key_begin);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float highest = -kInfinity;
#pragma unroll
                for (int n = 0; n < kTile / 8; n++) highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
                const float before = partials.origin[half], origin = fmaxf(before, highest * factor);
                const float shift = origin == -kInfinity ? 0 : origin;
                float sums[2] = {partials.sum[half] * ptx::exp2(before - shift), 0};
#pragma unroll
                for (int n = 0; n < kTile / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++) sums[e] += ptx::exp2(fmaf(s[n][2 * half + e], factor, -shift));
                partials.origin[half] = origin;
                partials.sum[half] = sums[0] + sums[1];
            }
        }

        static __device__ void mask(const Window& window, Scores& s, int first_row, int key_begin) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int r = first_row + lane_row() + 8 * half;
                const int last = window.sequence.key_length - window.rows + r - key_begin - 2 * (lane_id() % 4);
#pragma unroll
                for (int n = 0; n < kTile / 8; n++)
#pragma unroll
                    for (int e = 0; e < 2; e++)
                        if (8 * n + e > last) s[n][2 * half + e] = -kInfinity;
            }
        }

        // Merges the four lanes of a row, in either order the same.
        static __device__ void store(const Window& window, int round, int consumer,
                                     const Partials (&partials)[kBlocksOfConsumer], float2* row_partials) {
#pragma unroll
            for (int i = 0; i < kBlocksOfConsumer; i++) {
                const int block = consumer + i * kConsumers;
                const int slot = block / kSlotBlocks, row = block % kSlotBlocks * kProductRows;
                if (block >= kBlocks || !window.has_rows(slot, row, round)) continue;
                const int h = window.heads.first + Window::head_of(slot);
                float2* to = row_partials + partials_of<kWindow>(window.problem, window.b, h, static_cast<int>(blockIdx.x));
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    float2 partial = make_float2(partials[i].origin[half], partials[i].sum[half]);
#pragma unroll
                    for (int distance = 1; distance < 4; distance *= 2)
                        partial = merge_partials(partial, make_float2(__shfl_xor_sync(kAllLanes, partial.x, distance),
                                                                      __shfl_xor_sync(kAllLanes, partial.y, distance)));
                    const int r = Window::row_of_slot(slot, round) + row + lane_row() + 8 * half;
                    if (lane_id() % 4 == 0 && r < window.rows) to[r] = partial;
                }
            }
        }
    };

    // This lane's first row of a product, which has another one eight further down.
    static __device__ int lane_row() { return static_cast<int>(threadIdx.x) % kWarpgroup / kWarp * 16 + lane_id() / 4; }

    // raw: sums over the window, in a fixed order: rows of a lane, query tiles, lanes, rounds.
    struct ColumnScores {
        static constexpr int kThreads = Window::kThreads, kTile = Window::kKeyTile, kSharedBytes = Window::kSharedBytes;
        static constexpr int kSegments = kMostSegments, kHeads = Window::kHeads, kResident = 1;
        static constexpr bool kWaits = true;

        struct Arguments {
            const float2* row_partials;
            float* raw_scores;  // [batch, query heads, key length]; only prefixes are written
        };

        // A consumer has every kConsumers-th pair of 64 keys of a tile and a head.
        static constexpr int kTileBlocks = kTile / kProductRows;
        static constexpr int kBlocks = kHeads * kTileBlocks;
        static constexpr int kBlocksOfConsumer = divide_up(kBlocks, kConsumers);
        static constexpr int kHeadSlots = Window::kSlots / kHeads;
        using Scores = float[Window::kQueryRows / 8][4];

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            const Window window(problem, true, shared);
            const int consumer = Window::warpgroup();
            if (window.segment.begin == window.segment.end) {
                wait_for_earlier_kernels();
                return;
            }
            if (consumer == kConsumers) {
                ptx::shrink_registers<Window::kProducerRegisters>();
                window.produce();
                return;
            }
            ptx::grow_registers<Window::kConsumerRegisters>();
            if (consumer == kConsumers - 1) Window::pass_turn(consumer);
            Place keys;
            for (int round = 0; round < Window::kRounds; round++) {
                window.load_queries(round);
                if (round == 0) wait_for_earlier_kernels();
                merge_rows(window, round, arguments.row_partials);
                for (int tile = window.segment.begin; tile < window.segment.end; tile++)
                    score_tile(window, round, consumer, tile, keys, arguments.raw_scores);
            }
        }

        static __device__ void merge_rows(const Window& window, int round, const float2* row_partials) {
            for (int i = static_cast<int>(threadIdx.x); i < Window::kSlots * Window::kQueryRows;
                 i += Window::kConsumerThreads) {
                const int slot = i / Window::kQueryRows;
                const int r = Window::row_of_slot(slot, round) + i % Window::kQueryRows, head = Window::head_of(slot);
                const bool valid = head < window.heads.count && r < window.rows;
                float exponent = kInfinity;
                if (valid) {
                    const int h = window.heads.first + head;
                    const float2 row = whole_row<kWindow>(window.problem, row_partials, window.b, h, r);
                    exponent = row.y == 0 ? kInfinity : row.x + log2f(row.y * static_cast<float>(window.rows));
                }
                window.exponents[i] = exponent;
            }
            Window::sync_consumers();
        }

        static __device__ void score_tile(const Window& window, int round, int consumer, int tile, Place& keys,
                                          float* raw_scores) {
            window.wait_for_keys(keys);
#pragma unroll 1
            for (int i = 0; i < kBlocksOfConsumer; i++) {
                const int block = consumer + i * kConsumers;
                const int head = block / kTileBlocks, row = block % kTileBlocks * kProductRows;
                const bool has_head = block < kBlocks && head < window.heads.count;
                float sums[2] = {0, 0};
#pragma unroll 1
                for (int part = 0; part < kHeadSlots; part++) {
                    const int slot = head * kHeadSlots + part;
                    const bool is_last = i == kBlocksOfConsumer - 1 && part == kHeadSlots - 1;
                    if (!has_head || !window.has_rows(slot, 0, round)) {
                        window.skip_turn(consumer, is_last, keys);
                        continue;
                    }
                    Scores s;
                    window.take_turn_with(s, consumer, window.key_tile(keys.stage), row, window.query_tile(slot));
                    if (is_last) window.release_keys(keys);
                    add(window, s, slot, sums);
                }
                if (has_head) store(window, round, head, tile * kTile + row, sums, raw_scores);
            }
        }

        // A column is a row of the window; two neighbours' exponents are read at once.
        static __device__ void add(const Window& window, Scores& s, int slot, float (&sums)[2]) {
            window.apply_scale(s);
            const float factor = window.factor();
            const auto* exponents =
                reinterpret_cast<const float2*>(window.exponents + slot * Window::kQueryRows) + lane_id() % 4;
#pragma unroll
            for (int n = 0; n < Window::kQueryRows / 8; n++) {
                const float2 pair = exponents[4 * n];
#pragma unroll
                for (int half = 0; half < 2; half++) {
                    sums[half] += ptx::exp2(fmaf(s[n][2 * half], factor, -pair.x));
                    sums[half] += ptx::exp2(fmaf(s[n][2 * half + 1], factor, -pair.y));
                }
            }
        }

        static __device__ void store(const Window& window, int round, int head, int key_begin, const float (&sums)[2],
                                     float* raw_scores) {
            const int prefix = prefix_length<kWindow>(window.sequence);
            float* raw = raw_scores + row_of(window.problem, window.b, window.heads.first + head) * window.problem.key_length;
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float sum = row_sum(sums[half]);
                const int t = key_begin + lane_row() + 8 * half;
                if (lane_id() % 4 != 0 || t >= prefix) continue;
                raw[t] = round == 0 ? sum : raw[t] + sum;
            }
        }
    };
};

}  // namespace attn
