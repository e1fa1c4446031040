// What the tests of kernels share: random matrices, a paged cache with scattered blocks, and comparison.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "base/checked_math.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace penstock {

// An owned matrix of one of the float types.
class TestMat {
 public:
  TestMat(DType dtype, int64_t rows, int64_t cols) : dtype_(dtype), rows_(rows), cols_(cols) {
    buffer_ = Buffer(std::max<size_t>(1, static_cast<size_t>(rows * cols) * DTypeBytes(dtype)));
  }

  // Normal numbers times `scale`, rounded to the type.
  static TestMat Random(DType dtype, int64_t rows, int64_t cols, uint32_t seed, float scale = 1.0f) {
    TestMat mat(dtype, rows, cols);
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal(0.0f, scale);
    for (int64_t i = 0; i < rows * cols; ++i) mat.Set(i, normal(generator));
    return mat;
  }

  Mat mat() { return Mat(buffer_.data(), dtype_, rows_, cols_); }
  operator ConstMat() const { return ConstMat(buffer_.data(), dtype_, rows_, cols_); }
  int64_t size() const { return rows_ * cols_; }

  float Get(int64_t i) const {
    if (dtype_ == DType::kF32) return buffer_.as<float>()[i];
    if (dtype_ == DType::kBF16) return ToFloat(buffer_.as<Bf16>()[i]);
    return HalfToFloat(buffer_.as<uint16_t>()[i]);
  }
  void Set(int64_t i, float value) {  // f32 and bf16 only
    CHECK(dtype_ != DType::kF16);
    if (dtype_ == DType::kF32)
      buffer_.as<float>()[i] = value;
    else
      buffer_.as<Bf16>()[i] = ToBf16(value);
  }
  void Fill(float value) {
    for (int64_t i = 0; i < size(); ++i) Set(i, value);
  }

 private:
  DType dtype_;
  int64_t rows_;
  int64_t cols_;
  Buffer buffer_;
};

// The largest difference, relative to the number itself or to the root mean square of all, whichever is
// larger. NaN anywhere makes it infinite.
inline double MaxRelativeError(const TestMat& got, const TestMat& want) {
  EXPECT_EQ(got.size(), want.size());
  double square_sum = 0, largest = 0;
  for (int64_t i = 0; i < want.size(); ++i) square_sum += static_cast<double>(want.Get(i)) * want.Get(i);
  const double rms = std::sqrt(square_sum / static_cast<double>(std::max<int64_t>(1, want.size())));
  for (int64_t i = 0; i < want.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(got.Get(i)) - want.Get(i));
    const double error = difference / std::max(rms + 1e-30, std::fabs(static_cast<double>(want.Get(i))));
    if (!(error <= 1e30)) return INFINITY;
    largest = std::max(largest, error);
  }
  return largest;
}

// One layer's cache and the block tables of some sequences, with block ids in random order. Blocks begin
// filled with a byte pattern that reads as NaN in every float type, so that reading an unwritten token shows.
class TestCache {
 public:
  TestCache(size_t block_bytes, int32_t block_size, DType dtype, std::span<const int32_t> seq_lens,
            uint32_t seed = 1) {
    int32_t num_blocks = 2;  // two that nobody owns
    for (const int32_t len : seq_lens) num_blocks += CeilDiv(len, block_size);
    std::vector<int32_t> ids(num_blocks);
    for (int32_t i = 0; i < num_blocks; ++i) ids[i] = i;
    std::shuffle(ids.begin(), ids.end(), std::mt19937(seed));
    auto next = ids.begin();
    for (const int32_t len : seq_lens) {
      tables_.emplace_back(next, next + CeilDiv(len, block_size));
      next += CeilDiv(len, block_size);
    }
    buffer_ = Buffer(num_blocks * block_bytes);
    std::fill_n(buffer_.as<uint8_t>(), num_blocks * block_bytes, uint8_t{0xff});
    view_ = KvLayerView{buffer_.as<std::byte>(), block_bytes, num_blocks, block_size, dtype};
  }

  const KvLayerView& view() const { return view_; }
  const int32_t* table(size_t seq) const { return tables_[seq].data(); }

 private:
  Buffer buffer_;
  std::vector<std::vector<int32_t>> tables_;
  KvLayerView view_;
};

}  // namespace penstock
