// SPDX-License-Identifier: Apache-2.0
#include "model/counted_weights.h"

#include <algorithm>

#include "base/checked_math.h"

namespace penstock {
namespace {

// Devices pack rows in tiles; this is the coarsest tile that any of them uses.
constexpr int64_t kTileRows = 64;
constexpr int64_t kTileCols = 32;
constexpr int64_t kInt8TileCols = 64;
// Beside each row of 8-bit integers: its scale, bias, and sum.
constexpr size_t kInt8RowBytes = 12;

size_t PackedBytes(int64_t rows, int64_t cols, DType dtype) {
  const int64_t tile_cols = dtype == DType::kI8 ? kInt8TileCols : kTileCols;
  return static_cast<size_t>(RoundUp(rows, kTileRows)) * static_cast<size_t>(RoundUp(cols, tile_cols)) *
         DTypeBytes(dtype);
}

}  // namespace

std::unique_ptr<PackedMat> CountedWeights::Matrix(Names names) {
  int64_t rows = 0;
  for (const std::string& name : names) rows += RowsOf(name);
  const bool is_int8 = TypeOf(std::span(names.begin(), names.size())) != WeightType::kFloat;
  held_bytes_ += PackedBytes(rows, ColsOf(*names.begin()), is_int8 ? DType::kI8 : dtype_);
  if (is_int8) held_bytes_ += static_cast<size_t>(RoundUp(rows, kTileRows)) * kInt8RowBytes;
  return nullptr;
}

// Which norms have a bias is known from the files only; they are small.
bool CountedWeights::Has(const std::string&) const { return config_.weight_types != nullptr; }

std::vector<float> CountedWeights::Vector(Names names) {
  for (const std::string& name : names) {
    held_bytes_ += static_cast<size_t>(RowsOf(name)) * sizeof(float);
  }
  return {};
}

std::unique_ptr<PackedKvB> CountedWeights::KvB(const std::string&, const MlaShape& shape) {
  const int64_t rank = shape.kv_lora_rank;
  held_bytes_ +=
      PackedBytes(int64_t{shape.num_heads} * (shape.nope_dim + shape.v_dim), rank, dtype_);  // expanded
  held_bytes_ +=
      shape.num_heads * (PackedBytes(rank, shape.nope_dim, dtype_) + PackedBytes(shape.v_dim, rank, dtype_));
  return nullptr;
}

RowTable CountedWeights::Table(const std::string& name) {
  const size_t element_bytes = std::min(DTypeBytes(dtype_), DTypeBytes(config_.stored_dtype));
  held_bytes_ += static_cast<size_t>(RowsOf(name) * ColsOf(name)) * element_bytes;
  return {};
}

}  // namespace penstock
