// SPDX-License-Identifier: Apache-2.0
#include "weights/quantise_row.h"

#include <algorithm>
#include <bit>

namespace penstock {
namespace {

constexpr uint32_t kInfinityBits = 0x7f800000u;
constexpr float kLevels = 127.0f;
// A float of this size has no room for a fraction: adding it rounds to an integer, in any vector unit.
constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23

}  // namespace

std::optional<float> QuantiseRow(const float* x, int64_t count, int8_t* q) {
  uint32_t largest = 0;  // patterns of positive floats are in the order of the floats
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
  }
  if (largest >= kInfinityBits) return std::nullopt;
  float scale = std::bit_cast<float>(largest) / kLevels;
  if (scale == 0.0f) scale = 1.0f;
  for (int64_t i = 0; i < count; ++i) {
    const float rounded = (x[i] / scale + kRounder) - kRounder;
    q[i] = static_cast<int8_t>(std::clamp(rounded, -kLevels, kLevels));
  }
  return scale;
}

}  // namespace penstock
