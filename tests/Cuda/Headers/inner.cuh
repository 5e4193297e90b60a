#pragma once

namespace attn_test {

constexpr float kFactor = 2.0f;

}  // namespace attn_test
