// Fills a tensor with normally distributed numbers. Element i depends on the seed and on i alone, not on the launch.
#include <attncompose/problem.cuh>
#include <attncompose/ptx.cuh>

using Element = ATTNCOMPOSE_ELEMENT;

constexpr int kThreads = 256;

extern "C" __device__ attn::LaunchShape random_normal_shape = {kThreads, 0, 0, 0, 0, 0};

// A bijection of 64 bits whose outputs for consecutive inputs look independent: the finaliser of SplitMix64
// (Steele, Lea, Flood, OOPSLA 2014).
__device__ unsigned long long mixed(unsigned long long x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
    return x ^ (x >> 31);
}

// Two independent numbers of mean 0 and the deviation, by Box and Muller, rounded to the element type.
__device__ unsigned normal_pair(unsigned long long index, unsigned long long seed, float deviation) {
    unsigned long long bits = mixed(seed + (index + 1) * 0x9E3779B97F4A7C15ull);
    float uniform = (static_cast<float>(static_cast<unsigned>(bits) >> 8) + 1.0f) * 0x1p-24f;  // in (0, 1]
    float turns = static_cast<float>(static_cast<unsigned>(bits >> 40)) * 0x1p-24f;            // in [0, 1)
    float radius = deviation * sqrtf(-2.0f * logf(uniform));
    float sine, cosine;
    sincospif(2.0f * turns, &sine, &cosine);
    return attn::ptx::pack<Element>(radius * cosine, radius * sine);
}

// `chunks` of 8 elements each, 16 bytes.
extern "C" __global__ void __launch_bounds__(kThreads)
random_normal(attn::Chunk* to, long long chunks, unsigned long long seed, float deviation) {
    constexpr int kPairs = 4;
    long long stride = static_cast<long long>(gridDim.x) * kThreads;
    for (long long i = static_cast<long long>(blockIdx.x) * kThreads + threadIdx.x; i < chunks; i += stride) {
        attn::Chunk chunk;
        for (int p = 0; p < kPairs; p++)
            chunk.words[p] = normal_pair(i * kPairs + p, seed, deviation);
        to[i] = chunk;
    }
}
