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
    static constexpr bool kProven = true, kFirstAhead = true;

    const Score& score;

    // By whole warps, every lane with the same steps. A word is kWarp tiles and a group kWarp words. The words of a group are judged at
    // once, one a lane, and of a word that ranges leave open the tiles, one a lane. The word with the last query's own key comes
    // first: nearly every rule leaves something of it.
    template <int kQueryTile, int kKeyTile>
    struct Walk {
        const Score& score;
        WalkRange range;
        int left;              // groups that are still to be judged; the last one is next
        int word;              // at hand, or the first one of the group
        unsigned words, open;  // of the group that are still to come, and those that ranges leave open
        unsigned tiles, full;  // of it that are still to come, and those of which the rules hide nothing

        // Before anything is judged.
        __device__ KeyStep first() const {
            if (range.tiles == 0) return {0, 0};
            return {first_tile() * kKeyTile, KeyStep::kTile | KeyStep::kMasked | KeyStep::kFirst};
        }
        __device__ KeyStep next() {
            unsigned none = 0;
            return next(none);
        }
        __device__ KeyStep next(unsigned& before) {
            for (;;) {
                if (tiles != 0) {
                    const int bit = 31 - __clz(static_cast<int>(tiles));
                    tiles &= ~(1u << bit);
                    return {(word * kWarp + bit) * kKeyTile, flags_of(bit)};
                }
                if (words == 0 && left == 0) return {0, 0};
                judge(before);
            }
        }

        // Whether the rules may hide something of the first tile; any lane may ask by itself.
        __device__ bool is_first_ruled() const { return verdict_of(first_tile(), first_tile() + 1).can_fail; }

        __device__ int first_tile() const {
            return least(largest(range.first_diagonal + range.end - range.begin - 1, 0) / kKeyTile, range.tiles - 1);
        }

        // Of tile `bit` of the word at hand.
        __device__ unsigned flags_of(int bit) const {
            const bool is_full = (full >> bit & 1) != 0;
            if (is_full && word * kWarp + bit < range.whole_tiles) return KeyStep::kTile;
            return KeyStep::kTile | KeyStep::kMasked | (is_full ? 0 : KeyStep::kRuled);
        }

        // The next group where the one at hand is over, or else the tiles of its next word.
        __device__ void judge(unsigned& before) {
            const bool is_group = words == 0;
            if (is_group) {
                word = --left * kWarp;
            } else {
                const int lane = 31 - __clz(static_cast<int>(words));
                words &= ~(1u << lane);
                word = word / kWarp * kWarp + lane;
                if ((open >> lane & 1) == 0) {
                    tiles = bits_below(range.tiles - word * kWarp);
                    full = ~0u;
                    return;
                }
            }
            const int run = is_group ? kWarp : 1, begin = is_group ? (word + lane_id()) * kWarp : word * kWarp + lane_id();
            rules::Verdict verdict{false, false};
            if (begin < range.tiles) verdict = verdict_of(begin, least(begin + run, range.tiles));
            const unsigned seen = __ballot_sync(kAllLanes, verdict.can_hold), hidden = __ballot_sync(kAllLanes, verdict.can_fail);
            const int tile = ptx::recomputed(first_tile());
            if (is_group) {
                words = static_cast<unsigned>(tile / kWarp - word) < kWarp ? seen & ~(1u << tile / kWarp % kWarp) : seen;
                open = hidden;
            } else {
                tiles = seen;
                full = ~hidden;
                if (before & KeyStep::kFirst) {
                    before = flags_of(tile % kWarp);
                    tiles &= ~(1u << tile % kWarp);
                }
            }
        }

        static __device__ unsigned bits_below(int count) { return count >= kWarp ? ~0u : (1u << count) - 1; }

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
        Walk<kQueryTile, kKeyTile> walk{score, range, divide_up(range.tiles, kWarp * kWarp)};
        if (range.tiles == 0) return walk;
        walk.word = walk.first_tile() / kWarp;
        walk.words = walk.open = 1u << walk.word % kWarp;
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
