// CpuQuantizer: rows of activations as 8-bit integers, for products with int8 weights.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/cpu_matrix.h"
#include "kernels/cpu/cpu_ops.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

class ThreadTeam;

// As GemmProblem takes them: q is [rows, k] bytes with 128 added (kI8 stands for its width only).
struct QuantizedRows {
  ConstMat q;
  const float* scale = nullptr;  // [rows]; null: 1
};

class CpuQuantizer {
 public:
  // Both outlive this.
  CpuQuantizer(const CpuOps& ops, ThreadTeam& team) : ops_(ops), team_(team) {}

  // Quantises all rows of x (f32 or bf16). The result is good until the next call.
  QuantizedRows Run(ConstMat x, const Int8Input& input);

  // The same in parts: memory for `num_rows` rows, then the rows of x as rows from `row` on, by any thread.
  void Reserve(int64_t num_rows, int64_t k);
  void Fill(ConstMat x, const Int8Input& input, int64_t row);
  QuantizedRows Rows(int64_t begin, int64_t count, const Int8Input& input) const;

  size_t scratch_bytes() const { return q_.size() + scale_.size(); }

 private:
  const CpuOps& ops_;
  ThreadTeam& team_;
  Buffer q_;      // [rows, stride_]
  Buffer scale_;  // f32 [rows]
  int64_t k_ = 0;
  int64_t stride_ = 0;
};

}  // namespace penstock
