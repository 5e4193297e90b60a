// Attention by its definition, in double, for sizes at which a CPU takes too long. It includes no header of the device code, so
// that what is wrong there is not wrong here too. A block computes one query row in two passes over its keys: the largest score,
// then the weights and what they add up to. Nothing is kept between tiles of keys but sums, and nothing is fast.

struct LaunchShape {
    int threads, tile, shared_bytes, others[9];
};

// Elements of 16 bits, [batch, heads, rows, dim], rows without gaps; strides in elements.
struct Tensor {
    const unsigned short* data;
    long long batch, head, row;

    __device__ const unsigned short* at(long long b, long long h, long long r) const {
        return data + b * batch + h * head + r * row;
    }
};

// A query row, where it stands among the keys, and how many keys take part: the first ones of the sequence or, where
// positions are given, those at its head's first positions.
struct Row {
    int batch, query_head, query, position, key_count;
};

struct Question {
    Tensor query, key, value;
    const Row* rows;         // one a block
    const int* positions;    // [batch, query heads, capacity], or null
    long long capacity;
    double* output;          // [rows, head_dim]
    double* log_sum_exp;     // [rows], natural log
    double scale;
    int query_heads, key_value_heads, head_dim;
    int is_bfloat16;         // else float16
    int rounds_weights;      // weights are rounded to the element type before they meet the values, as matrix units want them
    int reserved;
};
static_assert(sizeof(Question) == 168);

constexpr int kThreads = 256, kWarp = 32, kWarps = kThreads / kWarp;
constexpr int kKeyTile = kThreads;
constexpr int kMostDim = 256;
static_assert(kMostDim <= kThreads);

__device__ double to_double(unsigned short bits, bool is_bfloat16) {
    if (is_bfloat16) return __uint_as_float(static_cast<unsigned>(bits) << 16);
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ double rounded(double value, bool is_bfloat16) {
    const float single = static_cast<float>(value);
    unsigned short bits;
    if (is_bfloat16)
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(single));
    else
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(single));
    return to_double(bits, is_bfloat16);
}

__device__ double negative_infinity() { return -__longlong_as_double(0x7FF0000000000000ll); }

struct Attention {
    const Question& question;
    Row row;
    int key_head;
    const double* query;  // [head_dim], shared memory

    __device__ int position_of(int j) const {
        if (question.positions == nullptr) return j;
        const long long head = static_cast<long long>(row.batch) * question.query_heads + row.query_head;
        return question.positions[head * question.capacity + j];
    }

    // Of key j, by a whole warp; -inf where the query does not see it.
    __device__ double score(int j) const {
        const int position = position_of(j);
        if (position > row.position) return negative_infinity();
        const unsigned short* key = question.key.at(row.batch, key_head, position);
        double sum = 0;
        for (int d = threadIdx.x % kWarp; d < question.head_dim; d += kWarp)
            sum += query[d] * to_double(key[d], question.is_bfloat16);
        for (int distance = kWarp / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, distance);
        return sum * question.scale;
    }
};

extern "C" __device__ LaunchShape reference_attention_shape = {kThreads, 1, 0, {}};

extern "C" __global__ void __launch_bounds__(kThreads) reference_attention(const __grid_constant__ Question question) {
    __shared__ double query[kMostDim];
    __shared__ double weights[kKeyTile];
    __shared__ double largest_of[kWarps];
    const Row row = question.rows[blockIdx.x];
    const int thread = threadIdx.x, warp = thread / kWarp;
    const int key_head = row.query_head / (question.query_heads / question.key_value_heads);
    const Attention attention{question, row, key_head, query};
    if (thread < question.head_dim)
        query[thread] = to_double(question.query.at(row.batch, row.query_head, row.query)[thread], question.is_bfloat16);
    __syncthreads();

    double largest = negative_infinity();
    for (int j = warp; j < row.key_count; j += kWarps) largest = fmax(largest, attention.score(j));
    if (thread % kWarp == 0) largest_of[warp] = largest;
    __syncthreads();
    for (int w = 0; w < kWarps; w++) largest = fmax(largest, largest_of[w]);

    double sum = 0, result = 0;  // the sum of all weights, the same in every thread; column `thread` of the result
    for (int first = 0; first < row.key_count && largest != negative_infinity(); first += kKeyTile) {
        const int keys = min(kKeyTile, row.key_count - first);
        for (int j = warp; j < keys; j += kWarps) {
            const double score = attention.score(first + j);
            if (thread % kWarp == 0) weights[j] = exp(score - largest);
        }
        __syncthreads();
        for (int j = 0; j < keys; j++) {
            const double weight = weights[j];
            sum += weight;
            if (weight == 0 || thread >= question.head_dim) continue;
            const unsigned short* value = question.value.at(row.batch, key_head, attention.position_of(first + j));
            result += (question.rounds_weights ? rounded(weight, question.is_bfloat16) : weight) *
                      to_double(value[thread], question.is_bfloat16);
        }
        __syncthreads();
    }
    if (thread < question.head_dim)
        question.output[static_cast<long long>(blockIdx.x) * question.head_dim + thread] = sum == 0 ? 0 : result / sum;
    if (thread == 0) question.log_sum_exp[blockIdx.x] = sum == 0 ? negative_infinity() : largest + log(sum);
}
