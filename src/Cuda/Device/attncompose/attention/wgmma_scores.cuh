// What becomes of a tile's scores between the products of the sm_90a main loop and the softmax (wgmma_loop.cuh): scale, rules, mask.
#pragma once

#include <attncompose/attention/online_softmax.cuh>
#include <attncompose/attention/wgmma_ring.cuh>

namespace attn {

// Of the rows of one consumer. A lane has two of them, `first_row` and the one eight further on.
template <typename Config, RowSource Rows, ScoreHook Score, KeyBlocks Blocks, typename Ring>
struct WgmmaScores {
    static constexpr int kKeyTile = Ring::kKeyTile;
    static constexpr bool kIndexed = Rows::kIndexed;
    static constexpr bool kHasSingles = Blocks::kColumns || Blocks::kSlashes;  // columns or slashes

    // Whether mask rules are asked in tiles that need no mask, and whether rules may leave nothing of a row there.
    static constexpr bool kAsksEverywhere = Score::kMasks && !Blocks::kProven;
    static constexpr bool kGuardsEverywhere = kAsksEverywhere || Score::kChanges;
    // Whether they may be left out of a tile that needs a mask.
    static constexpr bool kMayPass = Blocks::kProven && !Score::kChanges;

    using Header = typename Ring::Header;
    using Scores = float[kKeyTile / 8][4];

    const Problem& problem;
    const Score& score;
    const Blocks& blocks;
    const HeadRows<kIndexed>& rows;
    int b, h, g;
    const Ring& ring;

    // The scale is left to the softmax, as a factor of its exponents, where nothing stands between and where it keeps the
    // order of scores and turns no -inf into NaN, nor a sink in units of unscaled scores into one that is not finite. A rule wants
    // scores in natural-log units: then the change of base is left to it.
    static constexpr float kLeastScale = Score::kHasSink ? 1e-20f : 0;
    __device__ bool scale_in_softmax() const { return !Score::kChanges && problem.scale > kLeastScale; }
    __device__ float softmax_factor() const {
        return Score::kChanges ? kLog2E : scale_in_softmax() ? problem.scale * kLog2E : 1;
    }

    // A sink is as a first key, whose value is 0.
    __device__ void start_with_sinks(OnlineSoftmax<1>& softmax, int first_row) const {
#pragma unroll
        for (int half = 0; half < 2 && Score::kHasSink; half++) {
            const int i = least(first_row + 8 * half, rows.query_count - 1);
            const float sink = score.sink({b, h, g, rows.first_query + rows.query_row(i)});
            softmax.start_with(0, half, sink * (kLog2E / softmax_factor()));
        }
    }

    // is_ruled: a mask rule may hide something of the tile. Asked where it needs a mask, which may be for its diagonal or its end alone.
    template <bool kMasked>
    __device__ void apply(Scores& s, int first_row, int stage, const Header& header, bool is_ruled) const {
        if (!scale_in_softmax()) {
            const float factor = Score::kChanges ? problem.scale : problem.scale * kLog2E;
            // The assembler moves a rule up to where the scores are, and the other consumer's turn comes after what it moves. Of a long
            // one more than half may go there; the rest waits for a word that is read when the turn has passed.
            constexpr bool kCallsSpecialFunctions = requires { Score::kCallsSpecialFunctions; };
            constexpr int kSooner = kKeyTile / 8 * 3 / 4;
            const float later = kCallsSpecialFunctions && !kMasked ? ring.scale() : factor;
#pragma unroll
            for (int n = 0; n < kKeyTile / 8; n++)
#pragma unroll
                for (int e = 0; e < 4; e++) s[n][e] *= n < kSooner ? factor : later;
        }
        if constexpr (!Score::kIdentity && (kMasked || kGuardsEverywhere)) {
            if constexpr (Ring::kTerms > 0) {
                apply_rules_with_terms<kMasked>(s, first_row, header);
            } else if (!kMayPass || is_ruled) {
                // Rare where it may pass, so that what it computes from a row alone is not kept for it.
                apply_rules<kMasked>(s, kMayPass ? ptx::recomputed(first_row) : first_row, stage, header);
            }
        }
        if constexpr (kMasked) apply_mask(s, first_row, header);
    }

    // To all scores of a tile, hidden ones too, so that there is no branch a score and those of a lane go side by side.
    template <bool kMasked>
    __device__ void apply_rules(Scores& s, int first_row, int stage, const Header& header) const {
        const int first_column = 2 * (lane_id() % 4);
        ScorePosition at[2] = {{b, h, g}, {b, h, g}};
#pragma unroll
        for (int half = 0; half < 2; half++)
            at[half].query = rows.first_query + rows.query_row(least(first_row + 8 * half, rows.query_count - 1));
        const auto first_distance = static_cast<float>(rows.first_query + first_row - header.key_base - first_column);
#pragma unroll
        for (int half = 0; half < 2; half++) {
#pragma unroll
            for (int n = 0; n < kKeyTile / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    at[half].set_key(key_position<kMasked>(stage, header, first_column + 8 * n + e));
                    // Neighbours are a whole number apart: one addition instead of a conversion, and one for two rows.
                    if constexpr (!kIndexed && !Blocks::kColumns)
                        at[half].distance = first_distance - static_cast<float>(8 * (n - half) + e);
                    s[n][2 * half + e] = after_rules<kMasked || kAsksEverywhere>(score, s[n][2 * half + e], at[half]);
                }
            }
        }
    }

    // The same where rules have a term of the distance. The consumer's threads share out the diagonals of its tile.
    template <bool kMasked>
    __device__ void apply_rules_with_terms(Scores& s, int first_row, const Header& header) const {
        const int thread = static_cast<int>(threadIdx.x) % kWarpgroup, consumer = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
        const int row = thread / kWarp * 16 + lane_id() / 4, first_column = 2 * (lane_id() % 4);
        const int first_distance = rows.first_query + first_row - row - (header.key_base + kKeyTile - 1);
        const unsigned terms = ring.terms_address(consumer);
        ptx::sync_named(Ring::kConsumerBarrier + consumer, kWarpgroup);  // those of the tile before have been read
        for (int i = thread; i < Ring::kTerms; i += kWarpgroup) {
            ScorePosition at{b, h, g, first_distance + i};
            at.set_key(0);
            ptx::store_word(terms + i * 4, __float_as_uint(score.distance_term(at)));
        }
        ptx::sync_named(Ring::kConsumerBarrier + consumer, kWarpgroup);
        const auto term = [&](int n, int e) {
            return __int_as_float(ptx::load_word(terms + (row - first_column + kKeyTile - 1 - 8 * n - e) * 4));
        };
        float terms_of[2][2];  // of this lane's two rows, eight apart, as columns are: the first row's are then the second one's
        terms_of[1][0] = term(-1, 0), terms_of[1][1] = term(-1, 1);
#pragma unroll
        for (int n = 0; n < kKeyTile / 8; n++) {
            terms_of[0][0] = term(n, 0), terms_of[0][1] = term(n, 1);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                ScorePosition at{b, h, g, rows.first_query + least(first_row + 8 * half, rows.query_count - 1)};
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    at.set_key(key_position<kMasked>(0, header, first_column + 8 * n + e));
                    float& value = s[n][2 * half + e];
                    const bool hides = (kMasked || kAsksEverywhere) && Score::kMasks && score.hides(at);
                    value = hides ? -kInfinity : score.change(value, at, terms_of[half][e]);
                }
            }
            terms_of[1][0] = terms_of[0][0], terms_of[1][1] = terms_of[0][1];
        }
    }

    __device__ void apply_mask(Scores& s, int first_row, const Header& header) const {
        const int first_column = 2 * (lane_id() % 4);
        const bool single = (header.flags & (KeyStep::kColumns | KeyStep::kSlashes)) != 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = first_row + 8 * half;
            const int last = last_key(i) - header.key_base - first_column;
#pragma unroll
            for (int n = 0; n < kKeyTile / 8; n++) {
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float& value = s[n][2 * half + e];
                    if (!(kHasSingles && single) && 8 * n + e > last)
                        value = -kInfinity;
                    else if (kHasSingles && single && is_hidden(header, i, first_column + 8 * n + e))
                        value = -kInfinity;
                }
            }
        }
    }

    // Last key that query i sees; below 0 where it sees none.
    __device__ int last_key(int i) const {
        return rows.template last_key<Config::kCausal>(i);
    }

    // Key `row` of a tile, among those that take part; at least key_count where there is none.
    __device__ int key_of(const Header& header, int row) const {
        if constexpr (Blocks::kColumns) {
            if (header.flags & KeyStep::kColumns) return blocks.columns(b, h).key(header.key_base + row);
        }
        return header.key_base + row;
    }

    // Whether query i does not see key `row` of a tile of columns or slashes.
    __device__ bool is_hidden(const Header& header, int i, int row) const {
        if constexpr (kHasSingles) {
            const int key = key_of(header, row);
            return key > last_key(i) ||
                   blocks.hides(header.flags, b, h, least(i, rows.query_count - 1) / Blocks::kBlockQuery,
                                i + rows.key_count - rows.query_count, key);
        }
        return false;
    }

    // Of a key that there is, though the tile may end beyond the last one.
    template <bool kMasked>
    __device__ int key_position(int stage, const Header& header, int row) const {
        if constexpr (Ring::kKeepsPositions) return ring.position(stage, row);
        const int key = key_of(header, row);
        return rows.key_position(kMasked ? least(key, rows.key_count - 1) : key);
    }
};

}  // namespace attn
