// Inline PTX that only sm_90a has, one wrapper an instruction: warpgroup matrix multiplication (wgmma), mbarriers, the
// bulk tensor copy engine (TMA), register reallocation, the fences between them, thread block clusters, and kernels that
// start before the one before has ended.
//
//   warpgroup        four warps from a multiple of four on; they issue wgmma together
//   generic proxy    how ordinary loads, stores and cp.async reach shared memory
//   async proxy      how wgmma and the copy engine reach it; what one proxy wrote the other sees after a proxy fence
//   in flight        wgmma returns at once: its accumulators, and the registers of A, are untouchable until waited for
#pragma once

#include <attncompose/ptx.cuh>

namespace attn::ptx {

// ---- Registers and barriers ---------------------------------------------------------------------------------------------

// The whole warpgroup gives back or takes registers; only in kernels with __launch_bounds__(threads, 1).
template <int kRegisters>
__device__ inline void shrink_registers() {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void grow_registers() {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Named barriers 1 to 15 (0 is __syncthreads): `sync` waits until `threads` threads have come, `arrive` comes and goes on.
__device__ inline void sync_named(int id, int threads) {
    delay_at_random();
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
    delay_at_random();
}
__device__ inline void arrive_named(int id, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// mbarrier: a phase ends when `count` arrivals and all announced bytes have come. Phases alternate in parity, from 0.
__device__ inline void init_barrier(unsigned barrier, int count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
// Makes initialised barriers known to the async proxy; before the __syncthreads() that makes them known to the block.
__device__ inline void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ inline void arrive(unsigned barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void arrive(unsigned barrier, int times) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(times) : "memory");
}
// One arrival, and an announcement of bytes that the copy engine will bring.
__device__ inline void arrive_expecting(unsigned barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
// One arrival, made when this thread's cp.async copies so far have landed.
__device__ inline void arrive_after_copies(unsigned barrier) {
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Whether the phase of this parity is over, perhaps after a short wait; and waits until it is.
__device__ inline bool is_over(unsigned barrier, unsigned parity) {
    unsigned over;
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(over)
        : "r"(barrier), "r"(parity)
        : "memory");
    return over != 0;
}
__device__ inline void wait(unsigned barrier, unsigned parity) {
    while (!is_over(barrier, parity)) {
    }
    delay_at_random();
}

// Between generic accesses of shared memory and accesses of the async proxy that come after them, in either thread of a
// pair that a barrier orders.
__device__ inline void fence_async_proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- Clusters and kernels that overlap ----------------------------------------------------------------------------------

// All threads of all blocks of the cluster; what any of them wrote before, to its shared memory or another's, is seen after.
__device__ inline void sync_cluster() {
    delay_at_random();
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
    delay_at_random();
}

// The word at this block's shared-memory address `address`, but of block `rank` of the cluster.
__device__ inline unsigned load_of_block(unsigned address, int rank) {
    unsigned word;
    asm volatile("{\n.reg .b32 a;\nmapa.shared::cluster.u32 a, %1, %2;\nld.shared::cluster.b32 %0, [a];\n}"
                 : "=r"(word)
                 : "r"(address), "r"(rank)
                 : "memory");
    return word;
}
__device__ inline unsigned long long load_pair_of_block(unsigned address, int rank) {
    unsigned long long pair;
    asm volatile("{\n.reg .b32 a;\nmapa.shared::cluster.u32 a, %1, %2;\nld.shared::cluster.b64 %0, [a];\n}"
                 : "=l"(pair)
                 : "r"(address), "r"(rank)
                 : "memory");
    return pair;
}
__device__ inline void store_to_block(unsigned address, int rank, unsigned word) {
    asm volatile("{\n.reg .b32 a;\nmapa.shared::cluster.u32 a, %0, %1;\nst.shared::cluster.b32 [a], %2;\n}" ::"r"(address),
                 "r"(rank), "r"(word)
                 : "memory");
}

// Waits until the kernels before this one on the stream are done and their results seen; and lets the next one start, as
// soon as all blocks have said so.
__device__ inline void wait_for_earlier_kernels() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ inline void start_next_kernel() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }

// ---- Copy engine --------------------------------------------------------------------------------------------------------

// Fetches a tensor map ahead of its first use.
__device__ inline void prefetch_map(const void* map) {
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// The box at element (c0, .. c4) of a mapped tensor to shared memory, with zeroes where it leaves the tensor; its bytes count
// towards `barrier`.
__device__ inline void copy_box_async(unsigned to, const void* map, unsigned barrier, int c0, int c1, int c2, int c3,
                                      int c4) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
        "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4)
        : "memory");
}

// ---- wgmma --------------------------------------------------------------------------------------------------------------

// Before the first wgmma, and whenever registers that the next one uses were written.
__device__ inline void fence_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Keeps the compiler from moving accesses of these registers across this point; it does not know what is in flight.
template <int kColumns>
__device__ inline void pin(float (&c)[kColumns][4]) {
#pragma unroll
    for (int n = 0; n < kColumns; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) asm volatile("" : "+f"(c[n][e])::"memory");
}

// Waits until at most kPending of the warpgroup's groups are in flight; c are the accumulators that are then ready.
template <int kPending, int kColumns>
__device__ inline void wait_for_products(float (&c)[kColumns][4]) {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
    pin(c);
}

// c (64 x kN) += A B, in flight. Thread t of the warpgroup holds of c, with l = t % 32, [n][e] = row 16 (t / 32) + l / 4 +
// 8 (e / 2), column 8 n + 2 (l % 4) + e % 2: the C fragments of mma.sync, side by side; and A as its A fragment.
//   multiply_shared      A (64 x 16) and B (16 x kN) in shared memory, both with the inner dimension contiguous
//   multiply_registers   A in registers, B with its kN columns contiguous
template <Element T, int kN>
struct Wgmma;

// Lists of accumulators: as operands, by rows of [n][4], and as the names %0, %1, .. of the instruction's text.
#define ATTN_ROW(n) "+f"(c[n][0]), "+f"(c[n][1]), "+f"(c[n][2]), "+f"(c[n][3])
#define ATTN_ROWS_2(n) ATTN_ROW(n), ATTN_ROW((n) + 1)
#define ATTN_ROWS_4(n) ATTN_ROWS_2(n), ATTN_ROWS_2((n) + 2)
#define ATTN_ROWS_8(n) ATTN_ROWS_4(n), ATTN_ROWS_4((n) + 4)
#define ATTN_ROWS_16(n) ATTN_ROWS_8(n), ATTN_ROWS_8((n) + 8)
#define ATTN_ROWS_10(n) ATTN_ROWS_8(n), ATTN_ROWS_2((n) + 8)
#define ATTN_ROWS_12(n) ATTN_ROWS_8(n), ATTN_ROWS_4((n) + 8)
#define ATTN_ROWS_14(n) ATTN_ROWS_12(n), ATTN_ROWS_2((n) + 12)
#define ATTN_ROWS_20(n) ATTN_ROWS_16(n), ATTN_ROWS_4((n) + 16)
#define ATTN_ROWS_22(n) ATTN_ROWS_20(n), ATTN_ROWS_2((n) + 20)
#define ATTN_ROWS_24(n) ATTN_ROWS_16(n), ATTN_ROWS_8((n) + 16)
#define ATTN_ROWS_32(n) ATTN_ROWS_16(n), ATTN_ROWS_16((n) + 16)
#define ATTN_TEN(t) \
    "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define ATTN_NAMES_30 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " ATTN_TEN(1) ATTN_TEN(2)
#define ATTN_NAMES_60 ATTN_NAMES_30 ATTN_TEN(3) ATTN_TEN(4) ATTN_TEN(5)
#define ATTN_NAMES_90 ATTN_NAMES_60 ATTN_TEN(6) ATTN_TEN(7) ATTN_TEN(8)
#define ATTN_NAMES_120 ATTN_NAMES_90 ATTN_TEN(9) ATTN_TEN(10) ATTN_TEN(11)

// x0 .. x5 number the operands after the accumulators.
#define ATTN_WGMMA(type, ptx_type, columns, names, rows, x0, x1, x2, x3, x4, x5)                                            \
    template <>                                                                                                             \
    struct Wgmma<type, columns> {                                                                                           \
        using Accumulators = float[columns / 8][4];                                                                         \
        static __device__ void multiply_shared(Accumulators& c, unsigned long long a, unsigned long long b, bool accumulate) {\
            asm volatile(                                                                                                   \
                "{\n.reg .pred p;\nsetp.ne.b32 p, %" #x2 ", 0;\n"                                                           \
                "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." ptx_type "." ptx_type " {" names "}, "              \
                "%" #x0 ", %" #x1 ", p, 1, 1, 0, 0;\n}"                                                                     \
                : rows                                                                                                      \
                : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));                                                       \
        }                                                                                                                   \
        static __device__ void multiply_registers(Accumulators& c, const unsigned (&a)[4], unsigned long long b) {          \
            asm volatile(                                                                                                   \
                "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." ptx_type "." ptx_type " {" names "}, "              \
                "{%" #x0 ", %" #x1 ", %" #x2 ", %" #x3 "}, %" #x4 ", 1, 1, 1, 1;"                                           \
                : rows                                                                                                      \
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));                                                      \
        }                                                                                                                   \
    };
#define ATTN_WGMMAS(type, ptx_type)                                                                                         \
    ATTN_WGMMA(type, ptx_type, 64, ATTN_NAMES_30 "%30, %31", ATTN_ROWS_8(0), 32, 33, 34, 35, 36, 37)                        \
    ATTN_WGMMA(type, ptx_type, 80, ATTN_NAMES_30 "%30, %31, %32, %33, %34, %35, %36, %37, %38, %39", ATTN_ROWS_10(0), 40, 41,\
               42, 43, 44, 45)                                                                                              \
    ATTN_WGMMA(type, ptx_type, 96, ATTN_NAMES_30 ATTN_TEN(3) "%40, %41, %42, %43, %44, %45, %46, %47", ATTN_ROWS_12(0), 48, \
               49, 50, 51, 52, 53)                                                                                          \
    ATTN_WGMMA(type, ptx_type, 112, ATTN_NAMES_30 ATTN_TEN(3) ATTN_TEN(4) "%50, %51, %52, %53, %54, %55", ATTN_ROWS_14(0),  \
               56, 57, 58, 59, 60, 61)                                                                                      \
    ATTN_WGMMA(type, ptx_type, 128, ATTN_NAMES_60 "%60, %61, %62, %63", ATTN_ROWS_16(0), 64, 65, 66, 67, 68, 69)            \
    ATTN_WGMMA(type, ptx_type, 160, ATTN_NAMES_60 ATTN_TEN(6) "%70, %71, %72, %73, %74, %75, %76, %77, %78, %79",           \
               ATTN_ROWS_20(0), 80, 81, 82, 83, 84, 85)                                                                     \
    ATTN_WGMMA(type, ptx_type, 176, ATTN_NAMES_60 ATTN_TEN(6) ATTN_TEN(7) "%80, %81, %82, %83, %84, %85, %86, %87",         \
               ATTN_ROWS_22(0), 88, 89, 90, 91, 92, 93)                                                                     \
    ATTN_WGMMA(type, ptx_type, 192, ATTN_NAMES_90 "%90, %91, %92, %93, %94, %95", ATTN_ROWS_24(0), 96, 97, 98, 99, 100,     \
               101)                                                                                                         \
    ATTN_WGMMA(type, ptx_type, 256, ATTN_NAMES_120 "%120, %121, %122, %123, %124, %125, %126, %127", ATTN_ROWS_32(0), 128,  \
               129, 130, 131, 132, 133)
ATTN_WGMMAS(bf16, "bf16")
ATTN_WGMMAS(f16, "f16")

// The accumulators of two neighbouring groups of eight columns are, packed, the A operand of 16.
template <typename Element, int kSteps, int kGroups>
__device__ inline void pack_operand(unsigned (&a)[kSteps][4], const float (&c)[kGroups][4]) {
    static_assert(kGroups == 2 * kSteps);
#pragma unroll
    for (int step = 0; step < kSteps; step++) {
        a[step][0] = pack<Element>(c[2 * step][0], c[2 * step][1]);
        a[step][1] = pack<Element>(c[2 * step][2], c[2 * step][3]);
        a[step][2] = pack<Element>(c[2 * step + 1][0], c[2 * step + 1][1]);
        a[step][3] = pack<Element>(c[2 * step + 1][2], c[2 * step + 1][3]);
    }
}

// Moves an operand to registers that products in flight have read. For a plain copy the assembler takes the same registers twice and
// makes the products wait for each other; `zero` is one that it does not know to be 0.
template <int kSteps>
__device__ inline void move_operand(unsigned (&to)[kSteps][4], const unsigned (&from)[kSteps][4], unsigned zero) {
#pragma unroll
    for (int step = 0; step < kSteps; step++)
#pragma unroll
        for (int e = 0; e < 4; e++) asm volatile("xor.b32 %0, %1, %2;" : "=r"(to[step][e]) : "r"(from[step][e]), "r"(zero) : "memory");
}

}  // namespace attn::ptx
