// Workspace: memory for the activations of one step, taken once. Matrices are handed out one after the other
// and given back together, at the end of a scope.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/checked_math.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

class Workspace {
 public:
  explicit Workspace(size_t bytes) : buffer_(bytes), capacity_bytes_(bytes) {}

  // What Take() of such a matrix uses up.
  static size_t BytesFor(int64_t rows, int64_t cols, DType dtype) {
    return RoundUp<size_t>(static_cast<size_t>(rows) * static_cast<size_t>(cols) * DTypeBytes(dtype), 64);
  }

  // An uninitialised matrix, valid until the innermost Scope ends.
  Mat Take(int64_t rows, int64_t cols, DType dtype) {
    const size_t begin = used_bytes_;
    used_bytes_ += BytesFor(rows, cols, dtype);
    peak_bytes_ = std::max(peak_bytes_, used_bytes_);
    CHECK_LE(used_bytes_, capacity_bytes_) << "workspace";
    return Mat(buffer_.as<std::byte>() + begin, dtype, rows, cols);
  }

  // Gives back what was taken during its life.
  class Scope {
   public:
    explicit Scope(Workspace& workspace) : workspace_(workspace), begin_(workspace.used_bytes_) {}
    ~Scope() { workspace_.used_bytes_ = begin_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    const size_t begin_;
  };

  size_t capacity_bytes() const { return capacity_bytes_; }
  size_t peak_bytes() const { return peak_bytes_; }  // the most that was ever in use

 private:
  Buffer buffer_;
  size_t capacity_bytes_;
  size_t used_bytes_ = 0;
  size_t peak_bytes_ = 0;
};

}  // namespace penstock
