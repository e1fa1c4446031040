// TensorReader: tensors of a checkpoint by name and expected shape, in the forms that a model packs.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"
#include "weights/checkpoint.h"

namespace penstock {

// FP8 weights with one scale per block of [rows, cols], as DeepSeek-V3 stores them: beside X [n, k] in e4m3
// stands X_scale_inv, f32 [ceil(n / rows), ceil(k / cols)], and the weight is X times its block's scale. 0:
// no such weights.
struct Fp8Blocks {
  int32_t rows = 0;
  int32_t cols = 0;
};

// A matrix as it is stored: a view of the file where it can be, else in memory of its own. When it goes, so
// do the pages of the file that it touched. The checkpoint outlives it.
class StoredMat {
 public:
  StoredMat(ConstMat view, Buffer own, TensorRef ref) : view_(view), own_(std::move(own)), ref_(ref) {}
  ~StoredMat();
  StoredMat(StoredMat&& other) noexcept;
  StoredMat& operator=(StoredMat&&) = delete;

  const ConstMat& view() const { return view_; }
  // Leaves rows [row, row + rows) and columns [col, col + cols), without gaps between rows.
  void Cut(int64_t row, int64_t rows, int64_t col, int64_t cols);

 private:
  ConstMat view_;
  Buffer own_;
  TensorRef ref_;
};

class TensorReader {
 public:
  // Runs body(begin, end) over pieces of [0, count), perhaps on several threads at once.
  using ParallelFor = std::function<void(int64_t count, FunctionRef<void(int64_t begin, int64_t end)> body)>;

  // Rows are converted by `parallel_for`; without one, on the caller's thread.
  explicit TensorReader(const Checkpoint& checkpoint, Fp8Blocks fp8 = {}, ParallelFor parallel_for = {})
      : checkpoint_(checkpoint), fp8_(fp8), parallel_for_(std::move(parallel_for)) {}

  // A [rows, cols] matrix. FP8 weights come dequantised to `fp8_as`, f32 or bf16.
  Result<StoredMat> ReadMatrix(const std::string& name, int64_t rows, int64_t cols, DType fp8_as) const;

  // The same in fp32, row by row: row(r, values[cols]), in no order, and on several threads at once where the
  // reader has them. FP8 weights are dequantised without rounding. Returns one of the errors of `row`.
  using RowFunction = std::function<Status(int64_t r, const float* values)>;
  Status ReadRows(const std::string& name, int64_t rows, int64_t cols, const RowFunction& row) const;

  // A [rows, cols] matrix of int8.
  Result<StoredMat> ReadInt8(const std::string& name, int64_t rows, int64_t cols) const;

  // A vector of any float type, as fp32.
  Result<std::vector<float>> ReadVector(const std::string& name, int64_t size) const;

  // The same, of shape [size] or [size, 1].
  Result<std::vector<float>> ReadColumn(const std::string& name, int64_t size) const;

  // Vectors of integers.
  Result<std::vector<int32_t>> ReadI32(const std::string& name, int64_t size) const;
  Result<std::vector<int64_t>> ReadI64(const std::string& name, int64_t size) const;

  bool Has(const std::string& name) const { return checkpoint_.Find(name).ok(); }

  // Its dtype as the file has it, empty if there is no such tensor.
  std::string StoredDType(const std::string& name) const;

  // Its size in the file.
  Result<uint64_t> StoredBytes(const std::string& name) const;

 private:
  Result<TensorRef> FindShaped(const std::string& name, std::span<const int64_t> shape) const;
  Result<StoredMat> Dequantise(const TensorRef& ref, int64_t rows, int64_t cols, DType as) const;
  Result<StoredMat> ReadFp8Scales(const TensorRef& ref, int64_t rows, int64_t cols) const;
  Status ReadFp8Rows(const TensorRef& ref, int64_t rows, int64_t cols, const RowFunction& row) const;
  Status ForRows(int64_t rows, FunctionRef<Status(int64_t begin, int64_t end)> body) const;

  const Checkpoint& checkpoint_;
  Fp8Blocks fp8_;
  ParallelFor parallel_for_;
};

}  // namespace penstock
