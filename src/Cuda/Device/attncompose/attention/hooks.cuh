// What an attention main loop lets other stages decide, and the hooks of a pipeline that leaves a decision alone.
//
//   row source       which keys and queries take part, as rows of one shorter sequence
//   score            what becomes of a score, and so of the mask
//   row destination  where a computed row goes, and what becomes of rows that nothing was computed for
//
// Positions are those of the original sequence; i counts the queries that take part, j the keys.
#pragma once

#include <attncompose/problem.cuh>
#include <attncompose/tile.cuh>

namespace attn {

// The rows of one head that take part. They ascend, and the queries are aligned with the end of the keys: query i
// stands with key key_count - query_count + i, whether or not rows were left out.
template <bool kIndexed>
struct HeadRows {
    int key_count, query_count;
    int first_query;       // position of the sequence's first query
    const int* positions;  // [key_count], of the keys; meaningful where kIndexed

    __device__ int key_position(int j) const {
        if constexpr (kIndexed)
            return positions[j];
        else
            return j;
    }
    // Last key that query i sees; below 0 where it sees none.
    template <bool kCausal>
    __device__ int last_key(int i) const {
        return kCausal ? least(i + key_count - query_count, key_count - 1) : key_count - 1;
    }
    __device__ int query_row(int i) const {
        if constexpr (kIndexed)
            return positions[key_count - query_count + i] - first_query;
        else
            return i;
    }
};

// kIndexed says that positions are read from memory; the loop then fetches those of the next key tile ahead of its
// rows.
template <typename T>
concept RowSource = requires(const T source, const Problem& problem, Sequence sequence) {
    { source.rows(problem, sequence, 0, 0) } -> SameAs<HeadRows<T::kIndexed>>;
};

// A row source may offer the copy engine tensor maps of keys and values, as member `maps`: those of the problem; or, with
// `heads`, those of rows that were gathered ahead. Then each query head of the range has keys and values of its own, side by
// side, with zeroes from key_count on for at least a key tile, and `positions` serve queries and score hooks alone.
template <typename Rows>
inline constexpr bool kHasMaps = requires(const Rows source) { source.maps; };
template <typename Rows>
inline constexpr bool kGatheredAhead = kHasMaps<Rows> && requires(const Rows source) { source.heads; };

// Most keys of a tile: what is gathered ahead ends with so many rows of zeroes, where there is room.
inline constexpr int kMostKeyTile = 176;

// Where a score stands.
struct ScorePosition {
    int batch, query_head, key_value_head, query, key;
    float distance;  // query - key, which is exact; a loop that steps over keys has it for one addition

    // At a key, where nothing is known beforehand.
    __device__ void set_key(int position) {
        key = position;
        // Exact and cheap where both lie below 2^22, as they do wherever there are rules: 1.5 * 2^23 and a whole number.
        distance = __int_as_float(0x4B400000 + (query - position)) - 12582912.0f;
    }
};

// Rules of two kinds: hides() says whether a query does not see a key, change() gets a scaled score in natural-log units and
// returns it changed, where -inf masks the key too. kMasks and kChanges say which there are; kIdentity that there are none, and
// the loop leaves the hook out. apply() is both. They are called for valid keys and queries only. kHasSink says that sink() gives
// a logit that the softmax of a row has beside those of its keys, without a value. One with kCallsSpecialFunctions does. One with
// kHasDistanceTerm has distance_term(), which reads of a query and a key their difference alone, and a change() that is given it: a loop
// may compute it once for all scores along a diagonal.
template <typename T>
concept ScoreHook = requires(const T hook, ScorePosition at) {
    requires T::kIdentity == !(T::kMasks || T::kChanges);
    requires T::kHasSink || !T::kHasSink;
    { hook.hides(at) } -> SameAs<bool>;
    { hook.change(0.0f, at) } -> SameAs<float>;
    { hook.apply(0.0f, at) } -> SameAs<float>;
    { hook.sink(at) } -> SameAs<float>;
};

// rows() of one head say to which query row computed row i belongs, query_row(i), and for which query rows in [begin,
// end) there is none: for_each_skipped<kWarps, kMost>(warp, begin, end, fill), called by all threads of kWarps warps, of
// which this is number `warp`, calls fill(row) once for each, on a whole warp; end - begin is at most kMost.
template <typename T>
concept RowDestination = requires(const T destination, const Problem& problem, Sequence sequence) {
    { destination.rows(problem, sequence, 0, 0).query_row(0) } -> SameAs<int>;
};

// Every row of the sequence takes part.
template <typename Config>
struct DirectRows {
    static constexpr bool kIndexed = false;

    __device__ HeadRows<false> rows(const Problem&, Sequence sequence, int, int) const {
        return {sequence.key_length, sequence.query_length, sequence.first_query(), nullptr};
    }
};

// The same, for a loop that may let the copy engine bring the tiles of key and value.
template <typename Config>
struct MappedRows {
    static constexpr bool kIndexed = false;

    const TensorMaps* maps;  // of the kernel's __grid_constant__

    __device__ HeadRows<false> rows(const Problem&, Sequence sequence, int, int) const {
        return {sequence.key_length, sequence.query_length, sequence.first_query(), nullptr};
    }
};

// A score after the rules, the mask rules among them where kAsked says so.
template <bool kAsked, ScoreHook T>
__device__ inline float after_rules(const T& hook, float score, const ScorePosition& at) {
    if constexpr (kAsked && T::kMasks) {
        if (hook.hides(at)) return -kInfinity;
    }
    if constexpr (T::kChanges)
        return hook.change(score, at);
    else
        return score;
}
template <typename T>
inline constexpr bool kHasDistanceTerm = requires { T::kHasDistanceTerm; };

struct NoScore {
    static constexpr bool kIdentity = true, kMasks = false, kChanges = false, kHasSink = false;

    __device__ bool hides(const ScorePosition&) const { return false; }
    __device__ float change(float score, const ScorePosition&) const { return score; }
    __device__ float sink(const ScorePosition&) const { return -kInfinity; }
    __device__ float apply(float score, const ScorePosition&) const { return score; }
};

// Rows go where they came from. The ones beyond a sequence's valid queries are skipped.
template <typename Config>
struct DirectDestination {
    struct Rows {
        int query_count;

        __device__ int query_row(int i) const { return i; }

        template <int kWarps, int kMost, typename Fill>
        __device__ void for_each_skipped(int warp, int begin, int end, Fill fill) const {
            for (int row = largest(begin, query_count) + warp; row < end; row += kWarps) fill(row);
        }
    };

    __device__ Rows rows(const Problem&, Sequence sequence, int, int) const { return {sequence.query_length}; }
};

}  // namespace attn
