// 8-bit integers: the input of a product quantised, and the product in exact integers.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "kernels/ref/ref_kernels.h"

namespace penstock {
namespace {

constexpr float kTiny = 1e-30f;  // kernels.h

// max|x| / 127.
float DynamicScale(std::span<const float> x) {
  float most = 0.0f;
  for (const float value : x) {
    if (!std::isfinite(value)) return std::numeric_limits<float>::quiet_NaN();
    most = std::max(most, std::fabs(value));
  }
  return most > kTiny ? most / 127.0f : 0.0f;
}

std::vector<int32_t> QuantizeRow(std::span<const float> x, float scale, int32_t offset) {
  std::vector<int32_t> q(x.size(), 0);
  if (!(scale > 0.0f)) return q;
  for (size_t i = 0; i < x.size(); ++i) {
    const float exact = x[i] / scale + static_cast<float>(offset);
    const float clamped = std::isnan(exact) ? -128.0f : std::clamp(exact, -128.0f, 127.0f);
    q[i] = static_cast<int32_t>(std::nearbyint(clamped));
  }
  return q;
}

}  // namespace

RefInt8Mat::RefInt8Mat(std::span<const Int8Part> parts)
    : k_(parts[0].k), input_scale_(parts[0].input_scale), input_offset_(parts[0].input_offset) {
  for (const Int8Part& part : parts) {
    CHECK_EQ(part.k, k_);
    CHECK(part.input_scale == input_scale_ && part.input_offset == input_offset_);
    const bool is_static = input_scale_ > 0;
    rows_.insert(rows_.end(), part.weight, part.weight + part.n * part.k);
    const float* scales = is_static ? part.deq_scale : part.weight_scale;
    scales_.insert(scales_.end(), scales, scales + part.n);
    for (int64_t i = 0; i < part.n; ++i) biases_.push_back(is_static ? part.quant_bias[i] : 0);
  }
}

std::vector<float> RefInt8Mat::Apply(std::span<const float> x) const {
  CHECK_EQ(static_cast<int64_t>(x.size()), k_);
  const bool is_static = input_scale_ > 0;
  const float scale = is_static ? input_scale_ : DynamicScale(x);
  const std::vector<int32_t> q = QuantizeRow(x, scale, input_offset_);
  std::vector<float> y(scales_.size());
  for (size_t i = 0; i < y.size(); ++i) {
    int64_t sum = biases_[i];
    for (int64_t j = 0; j < k_; ++j) sum += int64_t{q[j]} * rows_[i * k_ + j];
    const double scaled = static_cast<double>(sum) * scales_[i] * (is_static ? 1.0 : scale);
    y[i] = static_cast<float>(scaled);
  }
  return y;
}

std::unique_ptr<PackedMat> RefKernels::PackInt8(std::span<const Int8Part> parts) {
  CHECK(!parts.empty());
  return std::make_unique<RefInt8Mat>(parts);
}

}  // namespace penstock
