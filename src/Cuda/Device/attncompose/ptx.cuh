// All inline PTX that the portable kernels use (sm_80 and later), one wrapper an instruction.
#pragma once

#include <attncompose/element.cuh>

namespace attn::ptx {

// The same value, of which the compiler knows nothing: what is computed from it inside a loop is not moved out of it,
// where it would hold registers all along.
template <typename T>
__device__ inline T recomputed(T value) {
    asm volatile("" : "+r"(value));
    return value;
}

// The lane, read where it is asked for: one that is known before a loop would be kept through it.
__device__ inline int read_lane() {
    int lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}

__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

// Sixteen bytes from global to shared memory; zeroes, and nothing read, where `valid` is false.
__device__ inline void copy_chunk_async(unsigned to, const void* from, bool valid) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0)
                 : "memory");
}

// Four bytes; 0, and nothing read, where `valid` is false.
__device__ inline void copy_word_async(unsigned to, const void* from, bool valid) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(valid ? 4 : 0) : "memory");
}

__device__ inline void commit_copies() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most kPending of this thread's groups are under way. Others see the data after a barrier.
template <int kPending>
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Plain accesses by shared-memory address.
__device__ inline int load_word(unsigned address) {
    int word;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(address) : "memory");
    return word;
}
__device__ inline Chunk load_chunk(unsigned address) {
    Chunk c;
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(c.words[0]), "=r"(c.words[1]), "=r"(c.words[2]), "=r"(c.words[3])
                 : "r"(address)
                 : "memory");
    return c;
}
__device__ inline void store_word(unsigned address, unsigned word) {
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(word) : "memory");
}

// Four 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8 and gets, of each matrix,
// elements (l / 4, 2 (l % 4)) and the next.
__device__ inline void load_matrices(unsigned (&m)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}

// The same, of the transposed matrices.
__device__ inline void load_matrices_transposed(unsigned (&m)[4], unsigned address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(address)
                 : "memory");
}

// c += a b with a 16x16, b 16x8, c 16x8.
template <Element T>
__device__ inline void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    if constexpr (kSame<T, bf16>)
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
            "%1, %2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, "
            "%2, %3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Has the operands computed before this point.
template <int kSteps>
__device__ inline void pin(unsigned (&a)[kSteps][4]) {
#pragma unroll
    for (int step = 0; step < kSteps; step++)
#pragma unroll
        for (int e = 0; e < 4; e++) asm volatile("" : "+r"(a[step][e])::"memory");
}

// Two floats rounded to nearest, the first in the lower half.
template <Element T>
__device__ inline unsigned pack(float low, float high) {
    unsigned pair;
    if constexpr (kSame<T, bf16>)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// The element in the low half of a word, as a float.
template <Element T>
__device__ inline float to_float(unsigned word) {
    if constexpr (kSame<T, bf16>) {
        return __uint_as_float(word << 16);
    } else {
        float value;
        asm("{.reg .b16 low; cvt.u16.u32 low, %1; cvt.f32.f16 %0, low;}" : "=f"(value) : "r"(word));
        return value;
    }
}

// 2^x to about two units in the last place; subnormal results are 0, 2^-inf is 0.
__device__ inline float exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / x to a relative error of 2^-23.
__device__ inline float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// tanh to a relative error of 2^-11.
__device__ inline float tanh(float x) {
    float y;
    asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// The lesser and the greater of two; NaN where one is, and -0 is below +0.
__device__ inline float min_nan(float a, float b) {
    float c;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}
__device__ inline float max_nan(float a, float b) {
    float c;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
    return c;
}

}  // namespace attn::ptx
