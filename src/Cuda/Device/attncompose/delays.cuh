// A compile switch that brings races to light: with ATTNCOMPOSE_DELAYS, warps are held up at random on both sides of
// every barrier, so that one which reads too early, or writes too early, meets data of another time.
#pragma once

namespace attn {

// Holds this warp up for 0 to 4 microseconds, one time in four.
__device__ inline void delay_at_random() {
#ifdef ATTNCOMPOSE_DELAYS
    unsigned clock;
    asm volatile("mov.u32 %0, %%clock;" : "=r"(clock));
    const unsigned drawn = (clock + (threadIdx.x / 32 + 37 * blockIdx.x) * 0x85EBCA6Bu) * 0x9E3779B1u;
    __nanosleep(drawn >> 30 == 0 ? drawn >> 18 & 0xFFF : 0);
#endif
}

}  // namespace attn

#ifdef ATTNCOMPOSE_DELAYS
#define __syncthreads() (attn::delay_at_random(), __syncthreads(), attn::delay_at_random())
#endif
