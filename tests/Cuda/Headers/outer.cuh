#pragma once
#include <attncompose/stages/AttnCompose.Cuda.Tests/inner.cuh>

namespace attn_test {

__device__ inline float twice(float x) { return kFactor * x; }

}  // namespace attn_test
