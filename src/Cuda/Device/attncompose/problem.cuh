// What every kernel is told about a call, and how a phase describes its launch. The host mirrors Problem, Strides,
// TokenIndex and LaunchShape byte for byte.
#pragma once

namespace attn {

// a / b of whole numbers, in few instructions: for a < kSmallDividend (a + 1/2) / b is further from a whole number than the
// rounding reaches.
inline constexpr unsigned kSmallDividend = 1u << 20;
__device__ inline unsigned divide_small(unsigned a, unsigned b) {
    return static_cast<unsigned>(__fdividef(static_cast<float>(a) + 0.5f, static_cast<float>(b)));
}

// Distances in elements. The last dimension is contiguous; products with an index are made in 64 bits.
struct Strides {
    long long batch, head, row;

    __device__ long long at(int b, int h) const { return b * batch + h * head; }
};

// query [batch, query_heads, query_length, head_dim], key and value [batch, key_value_heads, key_length, head_dim],
// output as query, log_sum_exp (may be null) [batch, query_heads, query_length]. Bases and strides of the first four
// are multiples of 16 bytes.
struct Problem {
    const void *query, *key, *value;
    void* output;
    float* log_sum_exp;
    const int *key_lengths, *query_lengths;  // [batch] each, or null
    Strides query_strides, key_strides, value_strides, output_strides, log_sum_exp_strides;
    int batch, query_heads, key_value_heads, query_length, key_length, head_dim;
    float scale;  // factor of query times key
    unsigned short layer, layers;  // of the model; layers is 0 where the caller said nothing

    // Query heads that share a key/value head.
    __device__ unsigned group() const { return divide_small(static_cast<unsigned>(query_heads), static_cast<unsigned>(key_value_heads)); }
    __device__ int key_value_head(int query_head) const {
        return static_cast<int>(divide_small(static_cast<unsigned>(query_head), group()));
    }
};
static_assert(sizeof(Problem) == 208);

// The copy engine's views of key and value (sm_90a), opaque: encoded by the driver, passed by value as a __grid_constant__.
// Five dimensions {slab, row, slab of the row, head, batch} with boxes {slab, rows of a key tile, slabs of a row, 1, 1}.
struct alignas(64) TensorMap {
    unsigned char opaque[128];
};
struct TensorMaps {
    TensorMap key, value;
};

// The tokens that each query head keeps: positions among the keys, ascending, of which key_count are meaningful. The
// kept tokens from query_begin on have a query.
struct TokenIndex {
    int* positions;    // [batch, query_heads, capacity]
    int* key_count;    // [batch, query_heads]
    int* query_begin;  // [batch, query_heads]
    long long capacity;

    __device__ long long row(const Problem& problem, int b, int h) const {
        return static_cast<long long>(b) * problem.query_heads + h;
    }
    __device__ int* positions_of(long long row) const { return positions + row * capacity; }
};
static_assert(sizeof(TokenIndex) == 32);

// The query heads, b * query_heads + h, that a launch is for, where it is not for all of them.
struct HeadRange {
    int first, count;
};
static_assert(sizeof(HeadRange) == 8);

// Valid lengths of one sequence. Its queries stand at the end of its keys: query i has position first_query() + i,
// which is negative for the first ones where there are more queries than keys.
struct Sequence {
    int query_length, key_length;

    __device__ int first_query() const { return key_length - query_length; }
};

__device__ inline Sequence sequence_of(const Problem& problem, int b) {
    int keys = problem.key_lengths ? problem.key_lengths[b] : problem.key_length;
    int queries = problem.query_lengths                        ? problem.query_lengths[b]
                  : problem.query_length == problem.key_length ? keys
                                                               : problem.query_length;
    return {queries, keys};
}

// What the host needs to launch a kernel. Its grid follows from the phase's scope, with `tile` elements of the tiled
// axis (queries or keys) to a block. An attention loop also says which one it is, and what box of a tensor map it copies.
struct LaunchShape {
    int threads, tile, shared_bytes;
    int main_loop;              // 0 none, 80 mma.sync, 90 wgmma
    int box_columns, box_rows;  // of key and value; 0 where no tensor map is read
    int team;                   // most blocks that share a head or sequence (team.cuh)
    int held_keys;              // most keys that a block of a team holds, in 4 bytes each behind shared_bytes
    int segments;               // most segments of the keys of a head, for the scope that is cut into them; most blocks of a
                                // sequence for the scope of query tiles, which they then walk, and 0 where each has one
    int heads, resident;        // query heads of such a block, at most; blocks of it that a multiprocessor runs at once
    int waits;                  // 1: the kernel waits for the one before it by itself, and may start before its end
};
static_assert(sizeof(LaunchShape) == 48);

// A part of a stage's device work: nested struct with the launch shape, its buffers and parameters in Arguments, and
// static void run(const Problem&, [hooks,] const Arguments&, unsigned char* shared).
template <typename T>
concept Phase = T::kThreads >
0 && T::kThreads <= 1024 && T::kThreads % 32 == 0 && T::kTile > 0 && T::kSharedBytes >= 0 &&
    sizeof(typename T::Arguments) > 0;

// What a phase says of its launch beyond the threads, tile and shared memory that all have.
template <typename T>
__device__ constexpr LaunchShape launch_of() {
    LaunchShape shape{T::kThreads, T::kTile, T::kSharedBytes, 0, 0, 0, 1, 0, 0, 0, 0, 0};
    if constexpr (requires { T::Loop::kMainLoop; }) {
        shape.main_loop = T::Loop::kMainLoop;
        shape.box_columns = T::Loop::kBoxColumns;
        shape.box_rows = T::Loop::kBoxRows;
    }
    if constexpr (requires { T::kTeam; }) {
        shape.team = T::kTeam;
        shape.held_keys = T::kHeldKeys;
    }
    if constexpr (requires { T::kSegments; }) {
        shape.segments = T::kSegments;
        shape.heads = T::kHeads;
        shape.resident = T::kResident;
    }
    if constexpr (requires { T::kWaits; }) shape.waits = T::kWaits;
    return shape;
}

// Launch shape of a kernel that runs phases one after another, __syncthreads() between them. They reuse one shared
// memory, and each fills the block: phases that share a kernel have equal threads and tiles, and no team among them.
template <Phase First, Phase... Next>
__device__ constexpr LaunchShape shape_of() {
    static_assert(((Next::kThreads == First::kThreads) && ...), "phases of one kernel have equal thread counts");
    static_assert(((Next::kTile == First::kTile) && ...), "phases of one kernel have equal tiles");
    LaunchShape shape = launch_of<First>();
    if constexpr (sizeof...(Next) > 0)
        static_assert(launch_of<First>().team * (launch_of<Next>().team * ...) == 1, "phases of one kernel have one block a head or sequence");
    ((shape.shared_bytes = shape.shared_bytes < Next::kSharedBytes ? Next::kSharedBytes : shape.shared_bytes), ...);
    return shape;
}

}  // namespace attn
