// Token selector by the length of keys (arXiv 2406.11430): each head keeps `count` tokens of a sequence, the window among
// them, those whose keys are shortest.
//
//   W            window (kWindow), always kept
//   n = Lk - W   prefix: the tokens that have a score
//   score[t]     minus the squared norm of key t, the same for all query heads of a key/value head
//
// A squared norm is a sum of 32 sums, in the order that LowestNormAttribute states, every operation rounded on its own: the
// same bits as on the CPU.
#pragma once

#include <attncompose/selection/highest_tokens.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow.
template <typename Config>
struct LowestNorm {
    static constexpr int kWindow = Config::kWindow;
    using Highest = HighestTokens<kWindow>;

    // A warp a key, a lane a pair of neighbouring elements.
    struct Score {
        static constexpr int kThreads = 256;
        static constexpr int kTile = 256;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            float* scores;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), g = static_cast<int>(blockIdx.y);
            const int prefix = prefix_length<kWindow>(sequence_of(problem, b));
            const int group = problem.query_heads / problem.key_value_heads;
            const int begin = static_cast<int>(blockIdx.x) * kTile, end = least(begin + kTile, prefix);
            const auto* keys = static_cast<const typename Config::Element*>(problem.key) + problem.key_strides.at(b, g);
            float* scores = arguments.scores + row_of(problem, b, g * group) * problem.key_length;
            for (int t = begin + warp_id(); t < end; t += kThreads / kWarp) {
                const float norm = squared_norm(reinterpret_cast<const unsigned*>(keys + t * problem.key_strides.row));
                for (int h = lane_id(); h < group; h += kWarp)
                    scores[static_cast<long long>(h) * problem.key_length + t] = -norm;
            }
        }

        // Of a row of pairs; every lane gets it.
        static __device__ float squared_norm(const unsigned* row) {
            float sum = 0;
#pragma unroll
            for (int pair = 0; pair < Config::kHeadDim / 2; pair += kWarp) {
                const unsigned both = pair + lane_id() < Config::kHeadDim / 2 ? row[pair + lane_id()] : 0;
                sum = __fadd_rn(sum, square(both & 0xFFFFu));
                sum = __fadd_rn(sum, square(both >> 16));
            }
#pragma unroll
            for (int apart = kWarp / 2; apart > 0; apart /= 2)
                sum = __fadd_rn(sum, __shfl_down_sync(kAllLanes, sum, apart));
            return __shfl_sync(kAllLanes, sum, 0);
        }

        static __device__ float square(unsigned bits) {
            const float x = widened(typename Config::Element{static_cast<unsigned short>(bits)});
            return __fmul_rn(x, x);
        }
        static __device__ float widened(bf16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }
        static __device__ float widened(f16 value) {
            float result;
            asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
            return result;
        }
    };

    // Each head's highest scores and the window.
    struct Select {
        static constexpr int kThreads = Highest::kThreads, kTile = 1, kSharedBytes = Highest::kSharedBytes;
        static constexpr int kTeam = Highest::kTeam, kHeldKeys = Highest::kHeldKeys;

        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            int count;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char* shared) {
            Highest::keep(problem, arguments.scores, arguments.token_index, shared,
                          [&](int prefix) { return least(largest(arguments.count - kWindow, 0), prefix); });
        }
    };
};

}  // namespace attn
