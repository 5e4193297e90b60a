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
        KeyStep given;         // by first(); none where it was not asked
        unsigned visit, full;  // tiles that the rules leave something of, and those of which they hide nothing
        unsigned word;         // tiles of this lane that are still to come in the pass

        // A loop may ask for a tile before anything is judged: that of the last query's own key, of which most rules leave something. It
        // does not come again, and its flags may be known better when the next one is.
        __device__ KeyStep first() {
            if (range.tiles == 0) return {0, 0};
            const int tile = largest(range.first_diagonal + range.end - range.begin - 1, 0) / kKeyTile;
            given = {least(tile, range.tiles - 1) * kKeyTile, KeyStep::kTile | KeyStep::kMasked | KeyStep::kRuled};
            return given;
        }

        __device__ KeyStep next() {
            for (;;) {
                const unsigned lanes = __ballot_sync(kAllLanes, word != 0);
                if (lanes != 0) {
                    const int lane = 31 - __clz(static_cast<int>(lanes));
                    const int bit = 31 - __clz(static_cast<int>(__shfl_sync(kAllLanes, word, lane)));
                    if (lane_id() == lane) word &= ~(1u << bit);
                    const int tile = (group * kWarp + lane) * kWarp + bit;
                    unsigned flags = KeyStep::kTile;
                    if (is_masked) {
                        const bool is_full = (__shfl_sync(kAllLanes, full, lane) >> bit & 1) != 0;
                        flags |= is_full ? KeyStep::kMasked : KeyStep::kMasked | KeyStep::kRuled;
                    }
                    return {tile * kKeyTile, flags};
                }
                if (group == 0) {
                    if (!is_masked) return {0, 0};
                    is_masked = false;
                    group = groups();
                    if (group == 0) return {0, 0};
                }
                group--;
                if (judged != group) judge();
                const unsigned whole = visit & full & bits_below((group * kWarp + lane_id()) * kWarp, range.whole_tiles);
                word = is_masked ? visit & ~whole : whole;
            }
        }

        __device__ int groups() const { return divide_up(range.tiles, kWarp * kWarp); }

        // Bits of the tiles of a word below `end`.
        static __device__ unsigned bits_below(int first, int end) {
            const int count = end - first;
            return count <= 0 ? 0 : count >= kWarp ? ~0u : (1u << count) - 1;
        }

        // The words at once, one a lane, and then of each that ranges leave open the tiles.
        __device__ void judge() {
            judged = group;
            unsigned open = 0;
            int at = kWarp;  // lane that has the word at hand; all words at first
            for (;;) {
                const bool are_words = at == kWarp;
                const int begin = are_words ? (group * kWarp + lane_id()) * kWarp : (group * kWarp + at) * kWarp + lane_id();
                const int end = least(begin + (are_words ? kWarp : 1), range.tiles);
                rules::Verdict verdict{false, false};
                if (begin < end) verdict = verdict_of(begin, end);
                const unsigned seen = __ballot_sync(kAllLanes, verdict.can_hold), hidden = __ballot_sync(kAllLanes, verdict.can_fail);
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
            const unsigned tile = static_cast<unsigned>(given.base / kKeyTile), word = tile / kWarp - static_cast<unsigned>(group * kWarp);
            if (word < kWarp) {
                const unsigned bit = 1u << tile % kWarp;
                if ((__shfl_sync(kAllLanes, full, static_cast<int>(word)) & bit) != 0) given.flags &= ~KeyStep::kRuled;
                if (lane_id() == static_cast<int>(word)) visit &= ~bit;
            }
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
        Walk<kQueryTile, kKeyTile> walk{score, range, true, 0, -1, {-kKeyTile, 0}, 0, 0, 0};
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
