// The keys of a block's run: in shared memory, read once, where they fit, and read again in every pass where they do not.
#pragma once

#include <attncompose/team.cuh>

namespace attn {

// kOf(score) is the key of a score. Scores are an array, or what can be read like one and moved on.
template <int kThreads, unsigned (*kOf)(float), typename Scores = const float*>
struct HeldKeys {
    // The runs of a team of eight on sm_90 cover 360448 keys. Older chips have less shared memory, and one block.
    static constexpr int kMost = kHasClusters ? 11 << 12 : 3 << 12;

    Scores scores;  // of the run
    Run run;
    unsigned* held;  // as many as the host gave room for: those of the longest run if they are at most kMost

    __device__ HeldKeys(Scores scores, Run run, void* memory)
        : scores(scores + run.begin), run(run), held(static_cast<unsigned*>(memory)) {}

    __device__ bool is_held() const { return run.length <= kMost; }

    // The first pass, over the scores: calls visit(key) for each key of the run. Others see the held keys after a barrier.
    template <typename Visit>
    __device__ void load(Visit visit) const {
        const bool holds = is_held();
        float batch[kBatch], next[kBatch];
        int first = static_cast<int>(threadIdx.x);
        fetch(first, batch);
        for (; first < run.count; first += kBatch * kThreads) {
            fetch(first + kBatch * kThreads, next);  // on their way while these are visited
#pragma unroll
            for (int n = 0; n < kBatch; n++) {
                const int i = first + n * kThreads;
                if (i < run.count) {
                    const unsigned key = kOf(batch[n]);
                    if (holds) held[i] = key;
                    visit(key);
                }
                batch[n] = next[n];
            }
        }
    }

    // Keys by way of one or the other; which of them is a matter of types, so that the passes are compiled for both.
    struct FromMemory {
        const unsigned* held;
        int count;

        __device__ unsigned operator()(int i) const { return held[i]; }
        // Keys i to i + 3, i a multiple of four; those past the run are of no meaning.
        __device__ uint4 quad(int i) const { return *reinterpret_cast<const uint4*>(held + i); }
    };
    struct FromScores {
        Scores scores;
        int count;

        __device__ unsigned operator()(int i) const { return kOf(scores[i]); }
        __device__ uint4 quad(int i) const { return make_uint4(at(i), at(i + 1), at(i + 2), at(i + 3)); }
        __device__ unsigned at(int i) const { return i < count ? kOf(scores[i]) : 0; }
    };
    __device__ FromMemory from_memory() const { return {held, run.count}; }
    __device__ FromScores from_scores() const { return {scores, run.count}; }

  private:
    static constexpr int kBatch = 8;

    __device__ void fetch(int first, float (&batch)[kBatch]) const {
#pragma unroll
        for (int n = 0; n < kBatch; n++) batch[n] = first + n * kThreads < run.count ? scores[first + n * kThreads] : 0;
    }
};

// Calls visit(key) for the keys [begin, end) of a source, `begin` a multiple of four.
template <int kThreads, typename Keys, typename Visit>
__device__ inline void for_each_key(const Keys& keys, int begin, int end, Visit visit) {
#pragma unroll 2
    for (int i = begin + 4 * static_cast<int>(threadIdx.x); i < end; i += 4 * kThreads) {
        const uint4 quad = keys.quad(i);
        visit(quad.x);
        if (i + 1 < end) visit(quad.y);
        if (i + 2 < end) visit(quad.z);
        if (i + 3 < end) visit(quad.w);
    }
}

}  // namespace attn
