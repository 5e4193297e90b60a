// A selector for tests, written to be read: each query head keeps the share of its keys with the largest scores. A score is
// the sum of the products of a key with the last kWindow queries.
#pragma once

#include <attncompose/element.cuh>
#include <attncompose/problem.cuh>

namespace attn {

// Config: kHeadDim, Element, kWindow, kKeepFirst.
template <typename Config>
struct TestSelect {
    static __device__ float widen(bf16 value) { return __uint_as_float(static_cast<unsigned>(value.bits) << 16); }
    static __device__ float widen(f16 value) {
        float result;
        asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
        return result;
    }

    static __device__ long long row_of(const Problem& problem, int b, int h) {
        return static_cast<long long>(b) * problem.query_heads + h;
    }

    // One thread a key, head after head.
    struct Score {
        static constexpr int kThreads = 128;
        static constexpr int kTile = kThreads;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            float* scores;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z);
            const int t = static_cast<int>(blockIdx.x * kTile + threadIdx.x);
            const Sequence sequence = sequence_of(problem, b);
            if (t >= sequence.key_length) return;
            const auto* queries = static_cast<const typename Config::Element*>(problem.query);
            const auto* keys = static_cast<const typename Config::Element*>(problem.key);
            for (int h = 0; h < problem.query_heads; h++) {
                const auto* key = keys + problem.key_strides.at(b, problem.key_value_head(h)) + t * problem.key_strides.row;
                float score = 0;
                for (int i = largest(0, sequence.query_length - Config::kWindow); i < sequence.query_length; i++) {
                    const auto* query = queries + problem.query_strides.at(b, h) + i * problem.query_strides.row;
#pragma unroll 1
                    for (int d = 0; d < Config::kHeadDim; d++) score += widen(query[d]) * widen(key[d]);
                }
                arguments.scores[row_of(problem, b, h) * problem.key_length + t] = score;
            }
        }
    };

    // How many keys come before each: those of larger scores, and of equal ones those at lower positions.
    struct Rank {
        static constexpr int kThreads = 256;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const float* scores;
            int* ranks;  // [batch, query heads, key length]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const int length = sequence_of(problem, b).key_length;
            const long long row = row_of(problem, b, h) * problem.key_length;
            const float* scores = arguments.scores + row;
            for (int t = static_cast<int>(threadIdx.x); t < length; t += kThreads) {
                int rank = 0;
                for (int other = 0; other < length; other++)
                    rank += scores[other] > scores[t] || (scores[other] == scores[t] && other < t);
                arguments.ranks[row + t] = Config::kKeepFirst && t == 0 ? -1 : rank;
            }
        }
    };

    // The kept positions in order, by the first thread of the block that ranked them.
    struct Pick {
        static constexpr int kThreads = Rank::kThreads;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const int* ranks;
            TokenIndex token_index;
            double share;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            if (threadIdx.x != 0) return;
            const int b = static_cast<int>(blockIdx.z), h = static_cast<int>(blockIdx.y);
            const Sequence sequence = sequence_of(problem, b);
            const int wanted = static_cast<int>(arguments.share * sequence.key_length);
            const int* ranks = arguments.ranks + row_of(problem, b, h) * problem.key_length;
            const long long row = arguments.token_index.row(problem, b, h);
            int* positions = arguments.token_index.positions_of(row);
            int kept = 0, before_queries = 0;
            for (int t = 0; t < sequence.key_length; t++) {
                if (ranks[t] >= wanted) continue;
                positions[kept++] = t;
                before_queries += t < sequence.first_query();
            }
            arguments.token_index.key_count[row] = kept;
            arguments.token_index.query_begin[row] = before_queries;
        }
    };
};

// A selector for tests that prunes: each head keeps the last share of the tokens that it kept before.
template <typename Config>
struct TestPrune {
    struct Weigh {
        static constexpr int kThreads = 32;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            TokenIndex token_index;
            float* scores;  // [batch, query heads]
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            const long long row = arguments.token_index.row(problem, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y));
            if (threadIdx.x == 0) arguments.scores[row] = static_cast<float>(arguments.token_index.key_count[row]);
        }
    };

    struct Prune {
        static constexpr int kThreads = Weigh::kThreads;
        static constexpr int kTile = 1;
        static constexpr int kSharedBytes = 0;

        struct Arguments {
            const float* scores;
            TokenIndex token_index;
            double share;
        };

        static __device__ void run(const Problem& problem, const Arguments& arguments, unsigned char*) {
            if (threadIdx.x != 0) return;
            const long long row = arguments.token_index.row(problem, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.y));
            const int count = static_cast<int>(arguments.scores[row]);
            const int dropped = count - static_cast<int>(arguments.share * count);
            int* positions = arguments.token_index.positions_of(row);
            for (int i = dropped; i < count; i++) positions[i - dropped] = positions[i];
            arguments.token_index.key_count[row] = count - dropped;
            arguments.token_index.query_begin[row] = largest(0, arguments.token_index.query_begin[row] - dropped);
        }
    };
};

}  // namespace attn
