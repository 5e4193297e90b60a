// The softmax of window_softmax.cuh by wgmma (sm_90a).
//
//   RowPartials    S = Q K^T of 64 rows against a tile of keys: a lane has whole parts of two rows
//   ColumnScores   its transpose, K Q^T, of 64 keys against a query tile: a lane has parts of two keys, and sums over the
//                  window's rows stay in its registers
#pragma once

#include <attncompose/selection/wgmma_window.cuh>

namespace attn {

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
