// The shared memory of a block of the sm_90a main loop: queries, and a ring through which keys and values go from the producer
// to the consumers (wgmma_loop.cuh).
//
//   stage          place of one tile of keys and one of values, which come and go apart
//   full, free     its mbarriers: the tile is there; the tile has been read
//   header         what the producer tells the consumers of a tile, so that the order of tiles is its business alone
#pragma once

#include <attncompose/attention/key_walk.cuh>
#include <attncompose/slab_tile.cuh>

namespace attn {

// Head dims whose tiles and accumulators were fitted; the portable loop takes the others.
template <int kHeadDim>
inline constexpr bool kHasWgmmaLoop = kHeadDim == 64 || kHeadDim == 96 || kHeadDim == 128 || kHeadDim == 192 || kHeadDim == 256;

// What was measured to be fastest on an H200. A lane of a consumer holds (kKeyTile + kHeadDim) / 2 accumulators and
// kKeyTile / 4 registers of weights, at the same time where it overlaps; a rule wants registers too.
template <int kHeadDim, bool kMapped, bool kHasRule>
struct WgmmaTuning {
    // What a rule needs is the user's, so a consumer that runs one has the registers of two.
    static constexpr int kConsumers = kHeadDim <= 96 && !kHasRule ? 3 : 2;
    static constexpr bool kWideTile = kHeadDim == 128 || (kHeadDim == 64 && kMapped && !kHasRule);
    static constexpr int kKeyTile = kWideTile ? 128 : kHeadDim < 256 ? 96 : kHasRule ? 64 : 80;
    static constexpr int kStages = kHeadDim <= 128 && !kMapped ? 3 : 2;
    // The softmax of a tile without a mask beside the value product of the one before.
    static constexpr bool kOverlap = kHeadDim >= 128 && !kHasRule;
    // Consumers issue their products by turns.
    static constexpr bool kTakeTurns = kHeadDim <= 128 || kHasRule;
    // Weights from the m of before (OnlineSoftmax::weigh_ahead), beside the scores; with kOverlap beside the weights in use too.
    static constexpr bool kAhead = kHeadDim == 128;
    // Of a lane of the producer, which needs more of them to copy by rows.
    static constexpr int kProducerRegisters = !kMapped ? 56 : kConsumers == 3 && kWideTile ? 32 : 40;
};

// Other shapes for a loop that the copy engine feeds and that has neither rules nor a block list: it has the one that
// ATTNCOMPOSE_ATTENTION_TILE=queries,keys,stages names. Which is fastest depends on chip, mask and length. None of them spills.
// AttentionTile of the host side lists them too.
struct WgmmaTile {
    int head_dim, queries, keys, stages;
};
inline constexpr WgmmaTile kWgmmaTiles[] = {
    {64, 128, 128, 2}, {64, 128, 176, 2}, {64, 192, 112, 3},
    {96, 128, 128, 2}, {96, 128, 160, 2},
    {128, 128, 128, 3}, {128, 128, 160, 2}, {128, 128, 176, 2}, {128, 192, 80, 2},
    {192, 128, 80, 2}, {192, 128, 112, 2},
    {256, 128, 64, 2},
};
#ifdef ATTNCOMPOSE_ATTENTION_TILE
inline constexpr int kAskedTile[] = {ATTNCOMPOSE_ATTENTION_TILE};
#else
inline constexpr int kAskedTile[] = {0, 0, 0};
#endif

__device__ constexpr bool is_asked_tile(int head_dim) {
    for (const WgmmaTile& tile : kWgmmaTiles) {
        if (tile.head_dim == head_dim && tile.queries == kAskedTile[0] && tile.keys == kAskedTile[1] && tile.stages == kAskedTile[2])
            return true;
    }
    return false;
}

template <int kHeadDim>
struct WgmmaAskedTuning : WgmmaTuning<kHeadDim, true, false> {
    static constexpr int kConsumers = kAskedTile[0] / 64;
    static constexpr int kKeyTile = kAskedTile[1];
    static constexpr int kStages = kAskedTile[2];
    static constexpr bool kOverlap = kHeadDim > 128 || (kHeadDim == 128 && kKeyTile == 128);
    static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 40;
};

// That of a block list: a query tile of 128, which every block size divides or is divided by, and the largest key tile that
// divides a block and leaves registers: a rule beside columns or slashes (kHasSingles) asks for more of them.
template <int kHeadDim, bool kMapped, int kBlockKey, bool kHasRule, bool kHasSingles>
struct WgmmaListTuning {
    static constexpr int kConsumers = 2;
    static constexpr int kKeyTile = kBlockKey == 64 || kHeadDim > (kHasRule && kHasSingles ? 64 : 128) ? 64 : 128;
    static constexpr int kStages = kHeadDim * kKeyTile <= 64 * 128 ? 4 : kHeadDim <= 128 && !kMapped ? 3 : 2;
    static constexpr bool kAhead = kHeadDim == 128 && !kHasSingles;
    static constexpr bool kOverlap = kAhead && kMapped && !kHasRule;
    static constexpr bool kTakeTurns = true;
    static constexpr int kProducerRegisters = kOverlap ? 56 : 64;
};

template <typename Config, bool kMapped, typename Score, typename Blocks>
struct WgmmaTuningChoice {
    using Type = WgmmaTuning<Config::kHeadDim, kMapped, !Score::kIdentity>;
};

template <typename Config, bool kMapped, typename Score, typename Blocks>
    requires(kMapped && Score::kIdentity && !Blocks::kListed && is_asked_tile(Config::kHeadDim))
struct WgmmaTuningChoice<Config, kMapped, Score, Blocks> {
    using Type = WgmmaAskedTuning<Config::kHeadDim>;
};

// A producer that judges tiles by a mask rule needs registers for the rule, where consumers of the largest heads do not need them
// more. Consumers ask it in masked tiles alone, and overlap the others as without a rule.
template <typename Config, bool kMapped, typename Score, typename Blocks>
    requires Blocks::kProven
struct WgmmaTuningChoice<Config, kMapped, Score, Blocks> {
    struct Type : WgmmaTuning<Config::kHeadDim, kMapped, true> {
        static constexpr bool kOverlap = Config::kHeadDim == 128 && kMapped && !Score::kChanges;
        // A rule of a few numbers, and no span, is judged with few.
        static constexpr bool kIsSmall = sizeof(Score) < 16;
        static constexpr int kProducerRegisters = kOverlap && kIsSmall ? 40 : kMapped || Config::kHeadDim == 256 ? 56 : 64;
    };
};
template <typename Config, bool kMapped, typename Score, typename Blocks>
    requires Blocks::kListed
struct WgmmaTuningChoice<Config, kMapped, Score, Blocks> {
    using Type =
        WgmmaListTuning<Config::kHeadDim, kMapped, Blocks::kBlockKey, !Score::kIdentity, Blocks::kColumns || Blocks::kSlashes>;
};

// Config: kHeadDim. With positions where the consumers ask for those of indexed keys, and with distance terms where rules have them.
template <typename Config, typename Tuning, bool kWithPositions, bool kWithTerms>
struct WgmmaRing {
    static constexpr bool kKeepsPositions = kWithPositions;
    static constexpr int kConsumers = Tuning::kConsumers;
    static constexpr int kConsumerRows = 64;
    static constexpr int kKeyTile = Tuning::kKeyTile;
    static constexpr int kStages = Tuning::kStages;

    using QueryTile = SlabTile<kConsumerRows, Config::kHeadDim>;  // of one consumer
    using KeyTile = SlabTile<kKeyTile, Config::kHeadDim>;

    // Of a tile in the ring; written with its keys. The first tile is always masked. The flags are the walk's and what follows.
    struct Header {
        int key_base;  // its first key, or the number of its first column
        unsigned flags;
    };
    static constexpr unsigned kMoreWhole = 1u << 16, kMoreMasked = 1u << 17;  // another tile follows, which needs no mask or one
    static constexpr unsigned kMore = kMoreWhole | kMoreMasked;

    static __device__ unsigned more_of(const KeyStep& after) {
        return !after.is_tile() ? 0 : after.is_masked() ? kMoreMasked : kMoreWhole;
    }

    // Barriers of a stage. They are full by the arrival of all copies and of thread 0, which wrote the header; free by that
    // of every consumer's thread.
    enum Barrier { kKeysFull, kValuesFull, kKeysFree, kValuesFree, kBarriers };
    static constexpr int kFullArrivals = kWarpgroup + 1;
    static constexpr int kFreeArrivals = kConsumers * kWarpgroup;

    static constexpr int kKeysOffset = kConsumers * QueryTile::kBytes;
    static constexpr int kValuesOffset = kKeysOffset + kStages * KeyTile::kBytes;
    static constexpr int kBarriersOffset = kValuesOffset + kStages * KeyTile::kBytes;
    static constexpr int kToldOffset = kBarriersOffset + kStages * kBarriers * 8;
    static constexpr int kHeadersOffset = kToldOffset + 16;
    static constexpr int kWorkOffset = kHeadersOffset + kStages * static_cast<int>(sizeof(Header));
    static constexpr int kPositionsOffset = kWorkOffset + 32;
    static constexpr int kTermsOffset = kPositionsOffset + (kKeepsPositions ? kStages * kKeyTile * 4 : 0);
    static constexpr int kTerms = kWithTerms ? kConsumerRows + kKeyTile - 1 : 0;  // diagonals of a consumer's tile
    static constexpr int kBytes = kTermsOffset + kConsumers * kTerms * 4;
    static_assert(kBytes <= 227 * 1024);

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

    static constexpr int kConsumerBarrier = 1;  // the first of named barriers, one to synchronise each consumer

    unsigned shared;  // address, a multiple of 1024

    __device__ QueryTile query_tile(int consumer) const { return {shared + consumer * QueryTile::kBytes}; }
    __device__ KeyTile key_tile(int stage) const { return {shared + kKeysOffset + stage * KeyTile::kBytes}; }
    __device__ KeyTile value_tile(int stage) const { return {shared + kValuesOffset + stage * KeyTile::kBytes}; }
    __device__ unsigned barrier(Barrier which, int stage) const {
        return shared + kBarriersOffset + (stage * kBarriers + which) * 8;
    }
    // Of the flags of a first tile that was copied before anything was known of it: 1 arrival, once. They have a place of their own: its
    // stage may hold another tile when they are read.
    __device__ unsigned told_barrier() const { return shared + kToldOffset; }
    __device__ void put_told(unsigned flags) const {
        delay_at_random();
        ptx::store_word(told_barrier() + 8, flags);
    }
    __device__ unsigned told() const { return static_cast<unsigned>(ptx::load_word(told_barrier() + 8)); }
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
        ptx::init_barrier(told_barrier(), 1);
        ptx::fence_barrier_init();
    }

    // Before the arrival of the thread that calls it.
    __device__ void put_header(int stage, Header header) const {
        ptx::store_word(header_address(stage), static_cast<unsigned>(header.key_base));
        ptx::store_word(header_address(stage) + 4, header.flags);
    }
    __device__ Header header(int stage) const {
        return {ptx::load_word(header_address(stage)), static_cast<unsigned>(ptx::load_word(header_address(stage) + 4))};
    }

    // What is needed once or again when the block's results leave is kept here, so that the loop has the registers; and the scale, for
    // scores that are to wait for it (WgmmaScores::apply).
    __device__ void put_work(int b, int h, int tile_begin, int query_count, float scale) const {
        ptx::store_word(shared + kWorkOffset, static_cast<unsigned>(b));
        ptx::store_word(shared + kWorkOffset + 4, static_cast<unsigned>(h));
        ptx::store_word(shared + kWorkOffset + 8, static_cast<unsigned>(query_count));
        ptx::store_word(shared + kWorkOffset + 12, __float_as_uint(scale));
        ptx::store_word(shared + kWorkOffset + 16, static_cast<unsigned>(tile_begin));
    }
    __device__ int sequence() const { return ptx::load_word(shared + kWorkOffset); }
    __device__ int tile_begin() const { return ptx::load_word(shared + kWorkOffset + 16); }
    __device__ int query_count() const { return ptx::load_word(shared + kWorkOffset + 8); }
    __device__ float scale() const { return __int_as_float(ptx::load_word(shared + kWorkOffset + 12)); }
    __device__ int query_head() const { return ptx::load_word(shared + kWorkOffset + 4); }

    __device__ int position(int stage, int row) const {
        return ptx::load_word(positions_address(stage) + static_cast<unsigned>(row) * 4);
    }

    // Of a consumer, by row - column + kKeyTile - 1.
    __device__ unsigned terms_address(int consumer) const { return shared + kTermsOffset + consumer * kTerms * 4; }
};

// Starts copying the queries of a consumer, from query `begin` on, by its warpgroup; rows that there are none of are zeroes.
template <typename Element, typename QueryTile, bool kIndexed>
__device__ inline void copy_queries(const QueryTile& to, const Problem& problem, const HeadRows<kIndexed>& rows, int b, int h,
                                    int begin, int thread) {
    const auto* base = static_cast<const unsigned char*>(problem.query);
    const long long head = problem.query_strides.at(b, h);
#pragma unroll
    for (int n = 0; n < QueryTile::kRowsOfThread; n++) {
        const int i = begin + QueryTile::row_of_thread(thread, n);
        const bool valid = i < rows.query_count;
        const long long row = valid ? rows.query_row(i) : 0;
        const auto* from = base + (head + row * problem.query_strides.row) * static_cast<long long>(sizeof(Element));
        to.copy_row_async(thread, n, from, valid);
    }
}

}  // namespace attn
