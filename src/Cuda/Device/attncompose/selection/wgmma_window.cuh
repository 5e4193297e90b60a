// What a block of the wgmma version of window_softmax.cuh has in shared memory, and how it multiplies (sm_90a). It owns a
// segment of the keys of one key/value head. The window's queries of as many query heads as fit stay in its shared memory,
// and the keys pass by once for all of them, through a ring that one more warpgroup fills.
//
//   query tile     kQueryRows window rows of a head; a head's rows are padded with zeroes to whole tiles
//   slot           place of a query tile; a head that has more tiles than there are slots takes several rounds over the keys
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

}  // namespace attn
