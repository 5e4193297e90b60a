// What the loop of wgmma_loop.cuh leaves behind: results, log-sum-exps, and the rows of the output that no query belongs to.
//
//   i              query among the rows that take part; query_row(i) of the destination is its row of the output
//   O              [queries, d] of a consumer, in registers: two rows a lane, eight apart
#pragma once

#include <attncompose/attention/hooks.cuh>
#include <attncompose/attention/online_softmax.cuh>
#include <attncompose/attention/wgmma_ring.cuh>

namespace attn {

template <typename Config, RowDestination Destination, typename Ring, int kFillingWarps, int kFilledRows>
struct WgmmaResultRows {
    using Element = typename Config::Element;
    using Output = typename Config::Output;
    using Softmax = OnlineSoftmax<1>;

    static constexpr int kHeadDim = Config::kHeadDim;
    static constexpr int kConsumerRows = Ring::kConsumerRows;
    static constexpr int kQueryTile = Ring::kConsumers * kConsumerRows;
    using Results = float[kHeadDim / 8][4];

    const Problem& problem;
    const Destination& destination;
    int b, h;
    int query_count;

    __device__ auto output_rows() const { return destination.rows(problem, sequence_of(problem, b), b, h); }

    __device__ Output* output_at(int row) const {
        return static_cast<Output*>(problem.output) + problem.output_strides.at(b, h) + row * problem.output_strides.row;
    }
    __device__ void store_log_sum_exp(int row, float value) const {
        const Strides& strides = problem.log_sum_exp_strides;
        problem.log_sum_exp[strides.at(b, h) + row * strides.row] = value;
    }

    // The rows of one consumer, by its warpgroup; `first_row` is this lane's first query of two, eight apart, and the sums O are
    // brought to their softmax here.
    __device__ void store(Results& o, const Softmax& softmax, float factor, int first_row) const {
        const auto to_rows = output_rows();
        const float normalizers[2] = {softmax.normalizer(0, 0), softmax.normalizer(0, 1)};
        rescale(o, normalizers);
        if (problem.log_sum_exp && lane_id() % 4 == 0) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int i = first_row + 8 * half;
                if (i < query_count)
                    store_log_sum_exp(to_rows.query_row(i), softmax.log_sum_exp(0, half, factor));
            }
        }
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = first_row + 8 * half;
            // All four lanes of a row have it or not, and exchange what they store.
            Output* to = i < query_count ? output_at(to_rows.query_row(i)) : nullptr;
            if constexpr (kSame<Output, float>)
                store_floats(o, half, to);
            else
                store_elements(o, half, to);
        }
    }

    // Four lanes store the 32 bytes of a memory sector.
    __device__ static void store_floats(const Results& o, int half, float* to) {
        if (!to) return;
#pragma unroll
        for (int n = 0; n < kHeadDim / 8; n++)
            *reinterpret_cast<float2*>(to + 8 * n + 2 * (lane_id() % 4)) = make_float2(o[n][2 * half], o[n][2 * half + 1]);
    }

    // A lane has a word of each chunk of a row. Four lanes exchange those of four chunks, so that each stores one.
    __device__ static void store_elements(const Results& o, int half, Output* to) {
        static_assert(kHeadDim / 8 % 4 == 0);
        int quarter = lane_id() % 4;
        // The largest heads leave the loop no register to keep it in.
        if constexpr (kHeadDim > 128) quarter = ptx::read_lane() % 4;
#pragma unroll
        for (int first = 0; first < kHeadDim / 8; first += 4) {
            unsigned words[4];
#pragma unroll
            for (int n = 0; n < 4; n++) words[n] = ptx::pack<Element>(o[first + n][2 * half], o[first + n][2 * half + 1]);
            exchange<1>(words[0], words[1], quarter);
            exchange<1>(words[2], words[3], quarter);
            exchange<2>(words[0], words[2], quarter);
            exchange<2>(words[1], words[3], quarter);
            if (to) reinterpret_cast<Chunk*>(to)[first + quarter] = Chunk{words[0], words[1], words[2], words[3]};
        }
    }

    // The lane of two that has bit kLane gives its first word for the other's second one.
    template <int kLane>
    __device__ static void exchange(unsigned& first, unsigned& second, int quarter) {
        const bool upper = (quarter & kLane) != 0;
        const unsigned other = __shfl_xor_sync(kAllLanes, upper ? first : second, kLane);
        first = upper ? other : first;
        second = upper ? second : other;
    }

    // Rows of the output that no query belongs to, in every range of the original sequence that begins `stride` rows after the
    // one before it, from `first` on. By the producer, which is the block's first warpgroup and has time.
    __device__ void fill_skipped(int first, int stride) const {
        for (int begin = first; begin < problem.query_length; begin += stride) {
            const int end = least(begin + kQueryTile, problem.query_length);
            for (int part = begin; part < end; part += kFilledRows) fill_skipped_range(part, least(part + kFilledRows, end));
        }
    }
    __device__ void fill_skipped_range(int begin, int end) const {
        constexpr int kRowChunks = kHeadDim * static_cast<int>(sizeof(Output)) / kChunkBytes;
        const int warp = warp_id() - (kWarpgroup / kWarp - kFillingWarps);
        output_rows().template for_each_skipped<kFillingWarps, kFilledRows>(warp, begin, end, [&](int row) {
            auto* to = reinterpret_cast<Chunk*>(output_at(row));
            for (int chunk = lane_id(); chunk < kRowChunks; chunk += kWarp) to[chunk] = Chunk{};
            if (problem.log_sum_exp && lane_id() == 0) store_log_sum_exp(row, -kInfinity);
        });
    }
};

}  // namespace attn
