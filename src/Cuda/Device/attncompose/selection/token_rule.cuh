// Scores of tokens by a rule of the pipeline, which knows a token's vectors and its place.
//
//   n = Lk - W   prefix: the tokens that get a score
//   raw[h][t]    what the rule says of token t for query head h, 0 where that is negative
//
// A thread owns a token: a rule is any loop over the elements of a row, in the order in which its C# has it. Read by such threads
// from global memory, each load would touch 32 rows. So the block copies the rows of its tokens to shared memory first, in chunks of
// 16 bytes, neighbouring threads neighbouring chunks, each row once for all query heads of its group. There rows are an odd number of
// words apart, so the threads of a warp find one element of their rows in 32 banks. Several blocks a multiprocessor copy while
// others compute: memory bounds a rule of some ten instructions an element.
#pragma once

#include <attncompose/rules.cuh>
#include <attncompose/selection/window.cuh>

namespace attn {

namespace rules {

// Where a token stands, as the rule sees it.
struct Token {
    Int batch, query_head, key_value_head, position, length;
};

// A vector of a token in shared memory. Reads 0 outside its elements, where C# throws.
template <typename Element, int kLength>
struct Row {
    const unsigned short* elements;

    __device__ Int size() const { return kLength; }

    __device__ Float get(Int index) const {
        const bool inside = index >= 0 && index < kLength;
        return inside ? ptx::to_float<Element>(elements[index.value]) : 0.0f;
    }
    __device__ Float operator[](Int index) const { return get(index); }
};

}  // namespace rules

// Config: kHeadDim, Element, kWindow. Rule: kReadsKey, kReadsValue, kDiffersByQueryHead, and the rule as its call operator.
template <typename Config, typename Rule>
struct TokenRuleScores {
    using Element = typename Config::Element;
    using Row = rules::Row<Element, Config::kHeadDim>;
    static constexpr int kRowWords = Config::kHeadDim / 2 + 1;  // odd
    static constexpr int kTokenBytes = (Rule::kReadsKey + Rule::kReadsValue) * kRowWords * static_cast<int>(sizeof(unsigned));
    static constexpr int kMostBytes = 96 * 1024;  // that every chip from sm_80 on has for a block

    struct TokenScores {
        static constexpr int kTile = 128 * kTokenBytes <= kMostBytes ? 128 : 64, kThreads = kTile;
        static constexpr int kSharedBytes = kTile * kTokenBytes;
        static_assert(kSharedBytes <= kMostBytes);

        struct Arguments {
            float* raw_scores;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Rule& rule, const Arguments& arguments, unsigned char* shared) {
            const int b = static_cast<int>(blockIdx.z), g = static_cast<int>(blockIdx.y);
            const int group = problem.query_heads / problem.key_value_heads;
            const Sequence sequence = sequence_of(problem, b);
            const int begin = static_cast<int>(blockIdx.x) * kTile;
            const int end = least(begin + kTile, prefix_length<Config::kWindow>(sequence));
            if (begin >= end) return;
            auto* keys = reinterpret_cast<unsigned*>(shared);
            unsigned* values = keys + (Rule::kReadsKey ? kTile * kRowWords : 0);
            if constexpr (Rule::kReadsKey) read_rows(problem.key, problem.key_strides, b, g, begin, end - begin, keys);
            if constexpr (Rule::kReadsValue) read_rows(problem.value, problem.value_strides, b, g, begin, end - begin, values);
            __syncthreads();
            const int n = static_cast<int>(threadIdx.x), t = begin + n;
            if (t >= end) return;
            const Row key{reinterpret_cast<const unsigned short*>(keys + n * kRowWords)};
            const Row value{reinterpret_cast<const unsigned short*>(values + n * kRowWords)};
            float* raw = arguments.raw_scores + row_of(problem, b, g * group) * problem.key_length + t;
            float score = 0;
            for (int h = 0; h < group; h++) {
                if (h == 0 || Rule::kDiffersByQueryHead) {
                    score = rule(rules::Token{b, g * group + h, g, t, sequence.key_length}, key, value);
                    score = score < 0 ? 0 : score;
                }
                raw[static_cast<long long>(h) * problem.key_length] = score;
            }
        }

        // Rows [begin, begin + rows) of a head, kRowWords apart. A thread copies as many chunks as a row has, of which some are
        // on their way at once.
        static __device__ void read_rows(const void* tensor, const Strides& strides, int b, int g, int begin, int rows,
                                         unsigned* words) {
            constexpr int kChunks = Config::kHeadDim / kChunkElements, kHeld = kChunks < 8 ? kChunks : 8;
            constexpr int kWords = kChunkBytes / static_cast<int>(sizeof(unsigned));
            const auto* from = static_cast<const Element*>(tensor) + strides.at(b, g) + begin * strides.row;
            for (int first = 0; first < kChunks; first += kHeld) {
                Chunk held[kHeld];
#pragma unroll
                for (int n = 0; n < kHeld; n++) {
                    const int chunk = (first + n) * kThreads + static_cast<int>(threadIdx.x), row = chunk / kChunks;
                    if (row < rows)
                        held[n] = *reinterpret_cast<const Chunk*>(from + row * strides.row + chunk % kChunks * kChunkElements);
                }
#pragma unroll
                for (int n = 0; n < kHeld; n++) {
                    const int chunk = (first + n) * kThreads + static_cast<int>(threadIdx.x), row = chunk / kChunks;
                    if (row >= rows) continue;
#pragma unroll
                    for (int w = 0; w < kWords; w++) words[row * kRowWords + chunk % kChunks * kWords + w] = held[n].words[w];
                }
            }
        }
    };
};

}  // namespace attn
