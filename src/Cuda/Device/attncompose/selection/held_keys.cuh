// The keys of a block's run: in shared memory, read once, where they fit, and read again in every pass where they do not.
#pragma once

#include <attncompose/team.cuh>

namespace attn {

// kOf(score) is the key of a score.
template <int kThreads, unsigned (*kOf)(float)>
struct HeldKeys {
    // The run of a team of eight on sm_90 covers 2^18 keys; on older chips there is less shared memory, and one block.
    static constexpr int kMost = kHasClusters ? 1 << 15 : 3 << 12;

    const float* scores;  // of the whole sequence
    Run run;
    unsigned* held;  // as many as the host gave room for: those of the longest run if they are at most kMost

    __device__ HeldKeys(const float* scores, Run run, void* memory)
        : scores(scores + run.begin), run(run), held(static_cast<unsigned*>(memory)) {
        if (!is_held()) return;
#pragma unroll 8
        for (int i = static_cast<int>(threadIdx.x); i < run.count; i += kThreads) held[i] = kOf(this->scores[i]);
        __syncthreads();
    }

    __device__ bool is_held() const { return run.length <= kMost; }

    // The key of item i of the run, by way of one or the other; which of them is a matter of types, so that the passes over
    // the keys are compiled for both.
    struct Held {
        const unsigned* keys;
        __device__ unsigned operator()(int i) const { return keys[i]; }
    };
    struct Streamed {
        const float* scores;
        __device__ unsigned operator()(int i) const { return kOf(scores[i]); }
    };
    __device__ Held from_memory() const { return {held}; }
    __device__ Streamed from_scores() const { return {scores}; }
};

}  // namespace attn
