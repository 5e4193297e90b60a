// The walk of a mask rule: key tiles that the rule leaves empty are passed over, and those in which it hides no key are not asked
// pair by pair. Which are which follows from the rule over ranges of positions (rule_ranges.cuh), when the walk comes there:
// there is no list in memory.
#pragma once

#include <attncompose/attention/key_walk.cuh>
#include <attncompose/rule_ranges.cuh>

namespace attn {

// Score: sees(ranges) says what the mask rules say of all pairs of a tile.
template <typename Config, typename Score>
struct RuledBlocks : EveryBlock<Config> {
    static constexpr bool kProven = true;

    const Score& score;

    // By whole warps, every lane with the same steps. A lane holds a word of kWarp tiles, so that kWarp^2 tiles are known at
    // once: the words are judged first, one a lane, and of those that ranges leave open the tiles, one a lane.
    template <int kQueryTile, int kKeyTile>
    struct Walk {
        const Score& score;
        WalkRange range;
        bool is_masked;        // the pass at hand
        int group;             // of words; they are taken from the last one down
        int judged;            // group that the words are of
        int given;             // twice the tile that first() gave, or -2, and 1 more until it was judged
        unsigned visit, full;  // tiles of this lane's word that are still to come, and those of which the rules hide nothing

        // A loop may ask for a tile before anything is judged: that of the last query's own key, of which most rules leave something.
        // Then next() gives it once more at first, with what it needs, and not again.
        __device__ KeyStep first() {
            if (range.tiles == 0) return {0, 0};
            const int tile = largest(range.first_diagonal + range.end - range.begin - 1, 0) / kKeyTile;
            given = 2 * least(tile, range.tiles - 1) + 1;
            return {given / 2 * kKeyTile, KeyStep::kTile | KeyStep::kMasked | KeyStep::kRuled | KeyStep::kFirst};
        }

        __device__ KeyStep next() {
            for (;;) {
                const unsigned whole = full & bits_below((group * kWarp + lane_id()) * kWarp, range.whole_tiles);
                const unsigned word = visit & (is_masked ? ~whole : whole);  // those of the pass
                const unsigned lanes = __ballot_sync(kAllLanes, word != 0);
                if (lanes != 0) {
                    const int lane = 31 - __clz(static_cast<int>(lanes));
                    const int bit = 31 - __clz(static_cast<int>(__shfl_sync(kAllLanes, word, lane)));
                    if (lane_id() == lane) visit &= ~(1u << bit);
                    const int tile = (group * kWarp + lane) * kWarp + bit;
                    unsigned flags = KeyStep::kTile;
                    if (is_masked) {
                        const bool is_full = (__shfl_sync(kAllLanes, full, lane) >> bit & 1) != 0;
                        flags |= is_full ? KeyStep::kMasked : KeyStep::kMasked | KeyStep::kRuled;
                    }
                    return {tile * kKeyTile, flags};
                }
                const bool is_given = (given & 1) != 0;
                if (!is_given) {
                    if (group == 0) {
                        if (!is_masked) return {0, 0};
                        is_masked = false;
                        group = groups();
                        if (group == 0) return {0, 0};
                    }
                    group--;
                }
                bool is_ruled = false;
                if (is_given || judged != group) is_ruled = judge(is_given);
                if (is_given) {
                    given--;
                    const unsigned flags = KeyStep::kTile | KeyStep::kMasked | KeyStep::kFirst;
                    return {0, is_ruled ? flags | KeyStep::kRuled : flags};
                }
            }
        }

        __device__ int groups() const { return divide_up(range.tiles, kWarp * kWarp); }

        // Bits of the tiles of a word below `end`.
        static __device__ unsigned bits_below(int first, int end) {
            const int count = end - first;
            return count <= 0 ? 0 : count >= kWarp ? ~0u : (1u << count) - 1;
        }

        // The words of a group at once, one a lane, and then of each that ranges leave open the tiles; or the given tile alone, of which
        // it returns whether a rule hides something.
        __device__ bool judge(bool is_given) {
            if (!is_given) judged = group;
            unsigned open = 0;
            int at = kWarp;  // lane that has the word at hand; all words at first
            for (;;) {
                const bool are_words = at == kWarp && !is_given;
                const int begin = is_given    ? given / 2
                                  : are_words ? (group * kWarp + lane_id()) * kWarp
                                              : (group * kWarp + at) * kWarp + lane_id();
                const int end = least(begin + (are_words ? kWarp : 1), range.tiles);
                rules::Verdict verdict{false, false};
                if (begin < end) verdict = verdict_of(begin, end);
                const unsigned seen = __ballot_sync(kAllLanes, verdict.can_hold), hidden = __ballot_sync(kAllLanes, verdict.can_fail);
                if (is_given) return hidden != 0;
                if (are_words) {
                    const unsigned inside = bits_below(begin, range.tiles);
                    visit = verdict.can_hold ? inside : 0;
                    full = verdict.can_fail ? 0 : inside;
                    open = seen & hidden;
                } else if (lane_id() == at) {
                    visit = seen;
                    full = seen & ~hidden;
                }
                if (open == 0) break;
                at = __ffs(static_cast<int>(open)) - 1;
                open &= open - 1;
            }
            if (given / 2 / kWarp == group * kWarp + lane_id() && given >= 0) visit &= ~(1u << given / 2 % kWarp);
            return false;
        }

        // Of the key tiles [first, end), as far as there are keys. Positions ascend, whether or not rows were left out.
        __device__ rules::Verdict verdict_of(int first, int end) const {
            const int last_key = least(end * kKeyTile, range.keys) - 1;
            return score.sees({{range.b, range.b},
                               {range.h, range.h},
                               {range.g, range.g},
                               {range.position(range.first_diagonal), range.position(range.first_diagonal + range.end - range.begin - 1)},
                               {range.position(first * kKeyTile), range.position(last_key)}});
        }
    };

    template <int kQueryTile, int kKeyTile>
    __device__ Walk<kQueryTile, kKeyTile> walk(const WalkRange& range) const {
        Walk<kQueryTile, kKeyTile> walk{score, range, true, 0, -1, -2, 0, 0};
        walk.group = walk.groups();
        return walk;
    }
};

// The key blocks of a pipeline without a block selector: those of its mask rules, where ranges tell something.
template <typename Config, typename Score>
__device__ inline auto key_blocks_of(const Score& score) {
    if constexpr (requires { Score::kHasRanges; })
        return RuledBlocks<Config, Score>{{}, score};
    else
        return EveryBlock<Config>{};
}

}  // namespace attn
