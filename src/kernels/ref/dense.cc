// The dense operations, row by row.
//
// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "base/check.h"
#include "kernels/ref/ref_kernels.h"

namespace penstock {
namespace {

// Rows of every part, one below the other, rounded to `compute`.
std::vector<float> RoundedRows(std::span<const ConstMat> parts, DType compute) {
  CHECK(compute == DType::kF32 || compute == DType::kBF16) << DTypeName(compute);
  std::vector<float> rows;
  for (const ConstMat& part : parts) {
    CHECK_EQ(part.cols, parts[0].cols);
    for (int64_t r = 0; r < part.rows; ++r) {
      for (const float value : ReadRow(part, r)) {
        rows.push_back(compute == DType::kBF16 ? ToFloat(ToBf16(value)) : value);
      }
    }
  }
  return rows;
}

void RotatePair(float& a, float& b, float cos, float sin) {
  const float rotated_a = a * cos - b * sin;
  b = b * cos + a * sin;
  a = rotated_a;
}

}  // namespace

std::vector<float> RefPackedMat::Apply(std::span<const float> x) const {
  CHECK_EQ(static_cast<int64_t>(x.size()), k_);
  std::vector<float> y(n_);
  for (int64_t i = 0; i < n_; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < k_; ++j) sum += static_cast<double>(x[j]) * rows_[i * k_ + j];
    y[i] = static_cast<float>(sum);
  }
  return y;
}

std::unique_ptr<PackedMat> RefKernels::Pack(std::span<const ConstMat> parts, DType compute) {
  CHECK(!parts.empty());
  int64_t n = 0;
  for (const ConstMat& part : parts) n += part.rows;
  return std::make_unique<RefPackedMat>(n, parts[0].cols, RoundedRows(parts, compute));
}

std::unique_ptr<PackedKvB> RefKernels::PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) {
  CHECK_EQ(kv_b.rows, int64_t{shape.num_heads} * (shape.nope_dim + shape.v_dim));
  CHECK_EQ(kv_b.cols, shape.kv_lora_rank);
  return std::make_unique<RefPackedKvB>(shape, RoundedRows(std::span(&kv_b, 1), compute));
}

void RefKernels::Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) {
  const auto& weights = dynamic_cast<const RefMat&>(w);
  CHECK_EQ(x.rows, y.rows);
  CHECK_EQ(y.cols, weights.n());
  for (int64_t r = 0; r < x.rows; ++r) {
    std::vector<float> product = weights.Apply(ReadRow(x, r));
    const std::vector<float> before = accumulate ? ReadRow(y, r) : std::vector<float>(y.cols, 0.0f);
    for (int64_t i = 0; i < y.cols; ++i) product[i] += (bias ? bias[i] : 0.0f) + before[i];
    WriteRow(y, r, product);
  }
}

void RefKernels::Embed(std::span<const int32_t> ids, ConstMat table, Mat y) {
  CHECK_EQ(static_cast<int64_t>(ids.size()), y.rows);
  CHECK_EQ(table.cols, y.cols);
  for (size_t i = 0; i < ids.size(); ++i) {
    CHECK(ids[i] >= 0 && ids[i] < table.rows) << ids[i];
    WriteRow(y, i, ReadRow(table, ids[i]));
  }
}

void RefKernels::RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias) {
  CHECK_EQ(x.rows, y.rows);
  CHECK_EQ(x.cols, y.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    std::vector<float> row = ReadRow(x, r);
    double square_sum = 0;
    for (const float value : row) square_sum += static_cast<double>(value) * value;
    const auto inverse = static_cast<float>(1.0 / std::sqrt(square_sum / static_cast<double>(x.cols) + eps));
    for (int64_t i = 0; i < x.cols; ++i) {
      row[i] = row[i] * inverse * weight[i] + (bias != nullptr ? bias[i] : 0.0f);
    }
    WriteRow(y, r, row);
  }
}

void RefKernels::AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                            const float* bias) {
  Add(x, residual);
  RmsNorm(residual, weight, eps, y, bias);
}

void RefKernels::Add(ConstMat x, Mat y) {
  CHECK_EQ(x.rows, y.rows);
  CHECK_EQ(x.cols, y.cols);
  for (int64_t r = 0; r < x.rows; ++r) {
    std::vector<float> sum = ReadRow(y, r);
    const std::vector<float> addend = ReadRow(x, r);
    for (int64_t i = 0; i < x.cols; ++i) sum[i] += addend[i];
    WriteRow(y, r, sum);
  }
}

void RefKernels::Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
                      const RopeTable& table, RopeStyle style) {
  CHECK_EQ(static_cast<int64_t>(positions.size()), x.rows);
  CHECK_LE(int64_t{num_heads - 1} * head_stride + table.dim, x.cols);
  const int32_t half = table.dim / 2;
  for (int64_t r = 0; r < x.rows; ++r) {
    CHECK(positions[r] >= 0 && positions[r] < table.max_positions) << positions[r];
    std::vector<float> row = ReadRow(x, r);
    for (int32_t h = 0; h < num_heads; ++h) {
      float* head = &row[int64_t{h} * head_stride];
      for (int32_t i = 0; i < half; ++i) {
        const float cos = table.cos[int64_t{positions[r]} * half + i];
        const float sin = table.sin[int64_t{positions[r]} * half + i];
        if (style == RopeStyle::kHalf)
          RotatePair(head[i], head[i + half], cos, sin);
        else
          RotatePair(head[2 * i], head[2 * i + 1], cos, sin);
      }
    }
    WriteRow(x, r, row);
  }
}

void RefKernels::SiluMul(ConstMat gate_up, Mat y) {
  CHECK_EQ(gate_up.rows, y.rows);
  CHECK_EQ(gate_up.cols, 2 * y.cols);
  for (int64_t r = 0; r < y.rows; ++r) {
    const std::vector<float> row = ReadRow(gate_up, r);
    std::vector<float> product(y.cols);
    for (int64_t i = 0; i < y.cols; ++i) product[i] = row[i] / (1.0f + std::exp(-row[i])) * row[y.cols + i];
    WriteRow(y, r, product);
  }
}

std::unique_ptr<Kernels> MakeRefKernels() { return std::make_unique<RefKernels>(); }

}  // namespace penstock
