// Mat and ConstMat: non-owning row-major matrices. A batch of heads is a matrix too: row = token,
// columns = num_heads * head_dim.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "tensor/bf16.h"
#include "tensor/dtype.h"

namespace penstock {

struct ConstMat;

struct Mat {
  void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from one row to the next, >= cols

  Mat() = default;
  Mat(void* data, DType dtype, int64_t rows, int64_t cols) : Mat(data, dtype, rows, cols, cols) {}
  Mat(void* data, DType dtype, int64_t rows, int64_t cols, int64_t stride)
      : data(data), dtype(dtype), rows(rows), cols(cols), stride(stride) {}

  void* RowPtr(int64_t row) const { return static_cast<std::byte*>(data) + row * stride * DTypeBytes(dtype); }
  template <typename T>
  T* Row(int64_t row) const {
    return static_cast<T*>(RowPtr(row));
  }
  // Rows [begin, begin + count) and columns [col, col + num_cols).
  Mat Rows(int64_t begin, int64_t count) const { return Mat(RowPtr(begin), dtype, count, cols, stride); }
  Mat Cols(int64_t col, int64_t num_cols) const {
    return Mat(static_cast<std::byte*>(data) + col * DTypeBytes(dtype), dtype, rows, num_cols, stride);
  }
};

struct ConstMat {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  ConstMat() = default;
  ConstMat(const Mat& mat)  // every Mat is a ConstMat
      : data(mat.data), dtype(mat.dtype), rows(mat.rows), cols(mat.cols), stride(mat.stride) {}
  ConstMat(const void* data, DType dtype, int64_t rows, int64_t cols)
      : ConstMat(data, dtype, rows, cols, cols) {}
  ConstMat(const void* data, DType dtype, int64_t rows, int64_t cols, int64_t stride)
      : data(data), dtype(dtype), rows(rows), cols(cols), stride(stride) {}

  const void* RowPtr(int64_t row) const {
    return static_cast<const std::byte*>(data) + row * stride * DTypeBytes(dtype);
  }
  template <typename T>
  const T* Row(int64_t row) const {
    return static_cast<const T*>(RowPtr(row));
  }
  ConstMat Rows(int64_t begin, int64_t count) const {
    return ConstMat(RowPtr(begin), dtype, count, cols, stride);
  }
  ConstMat Cols(int64_t col, int64_t num_cols) const {
    return ConstMat(static_cast<const std::byte*>(data) + col * DTypeBytes(dtype), dtype, rows, num_cols,
                    stride);
  }
};

}  // namespace penstock
