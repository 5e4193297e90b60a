// Token score that means nothing: raw[h][t] is a uniform random number, the CPU's to the bit. A pure function of seed, layer,
// head and position; the finaliser is splitmix64's.
#pragma once

#include <attncompose/selection/window.cuh>

namespace attn {

// Config: kWindow.
template <typename Config>
struct RandomTokens {
    struct RandomScores {
        static constexpr int kThreads = 256, kTile = 1024, kSharedBytes = 0;
        static constexpr unsigned long long kGolden = 0x9E3779B97F4A7C15ull;

        struct Arguments {
            float* raw_scores;  // [batch, query heads, key length]
            int seed;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int prefix = prefix_length<Config::kWindow>(sequence_of(problem, b));
            const int begin = static_cast<int>(blockIdx.x) * kTile, end = least(begin + kTile, prefix);
            float* raw = arguments.raw_scores + row_of(problem, b, h) * problem.key_length;
            const unsigned long long place = static_cast<unsigned long long>(problem.layer) << 32 | static_cast<unsigned>(h);
            const unsigned long long key = mix(mix(static_cast<unsigned>(arguments.seed) + kGolden) ^ place);
            for (int t = begin + static_cast<int>(threadIdx.x); t < end; t += kThreads)
                raw[t] = static_cast<float>((mix(key + static_cast<unsigned>(t) * kGolden) >> 40) + 1) * (1.0f / (1 << 24));
        }

        static __device__ unsigned long long mix(unsigned long long x) {
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ull;
            x = (x ^ x >> 27) * 0x94D049BB133111EBull;
            return x ^ x >> 31;
        }
    };
};

}  // namespace attn
