// A block on a processor: a thread is a fiber, which runs until it meets others. They take turns in another order each time, and one
// warp is slow, so that a missing barrier shows. Enough for headers that choose.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "stand_ins.h"

inline Index3 threadIdx, blockIdx, gridDim{1, 1, 1};

inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}

namespace hosted {

struct Meeting {
    int come = 0;
    unsigned times = 0;
};

struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(64 << 10);
    bool is_over = false;
};

struct Warp {
    Meeting meeting;
    unsigned long long told[32];
};

inline int threads;
inline void (*work)();
inline ucontext_t back;
inline std::vector<Fiber> fibers;
inline std::vector<Warp> warps;
inline std::mt19937 random;
inline Meeting everyone;

inline void let_others_run() {
    swapcontext(&fibers[threadIdx.x].context, &back);
}

inline void meet(Meeting& at, int count) {
    const unsigned times = at.times;
    if (++at.come == count) {
        at.come = 0;
        at.times++;
    }
    while (at.times == times) let_others_run();
}

inline Warp& warp() {
    return warps[threadIdx.x / 32];
}

// What the thread at `lane` of the warp said.
template <typename T>
T told(T value, int lane) {
    std::memcpy(&warp().told[threadIdx.x % 32], &value, sizeof(T));
    meet(warp().meeting, 32);
    T other;
    std::memcpy(&other, &warp().told[lane], sizeof(T));
    meet(warp().meeting, 32);
    return other;
}

inline void begin() {
    work();
    fibers[threadIdx.x].is_over = true;
    let_others_run();
}

// Runs a kernel of one block.
inline void run(int count, void (*kernel)()) {
    threads = count;
    work = kernel;
    fibers.resize(count);
    warps.assign(count / 32, {});
    everyone = {};
    for (Fiber& fiber : fibers) {
        fiber.is_over = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        makecontext(&fiber.context, begin, 0);
    }
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    const unsigned slow = random() % warps.size();
    for (int left = count; left > 0;) {
        left = 0;
        std::shuffle(order.begin(), order.end(), random);
        for (const int i : order) {
            if (fibers[i].is_over) continue;
            left++;
            if (i / 32 == static_cast<int>(slow) && random() % 4 != 0) continue;
            threadIdx = {static_cast<unsigned>(i), 0, 0};
            swapcontext(&back, &fibers[i].context);
        }
    }
}

}  // namespace hosted

inline void __syncthreads() {
    hosted::meet(hosted::everyone, hosted::threads);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
    return hosted::told(value, static_cast<int>(threadIdx.x) % 32 ^ mask);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, int distance) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return hosted::told(value, lane < distance ? lane : lane - distance);
}
inline unsigned __ballot_sync(unsigned, int vote) {
    unsigned all = (vote != 0 ? 1u : 0u) << threadIdx.x % 32;
    for (int mask = 1; mask < 32; mask *= 2) all |= __shfl_xor_sync(0, all, mask);
    return all;
}
template <typename T>
T atomicAdd(T* to, T value) {
    const T before = *to;
    *to += value;
    return before;
}
inline int __popc(unsigned bits) {
    return __builtin_popcount(bits);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline unsigned long long __double2ull_rn(double x) {
    return static_cast<unsigned long long>(std::nearbyint(x));
}
