// CpuMatrix: a weight matrix in the panels of cpu_ops.h, and how its input is quantised where it is int8.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "kernels/cpu/cpu_ops.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

class ThreadTeam;

// How the input of an int8 matrix becomes 8-bit integers; as Int8Part.
struct Int8Input {
  float scale = 0;  // 0: dynamic
  int32_t offset = 0;
  bool operator==(const Int8Input&) const = default;
};

class CpuMatrix : public PackedMat {
 public:
  CpuMatrix(const CpuOps& ops, int64_t n, int64_t k, DType dtype);
  // Of an Image() of a matrix of the same `ops`; null if it is none.
  static std::unique_ptr<CpuMatrix> Attach(const CpuOps& ops, const PackedImage& image);

  int64_t n() const override { return panels_.n; }
  int64_t k() const override { return panels_.k; }
  size_t bytes() const override { return buffer_.size() + columns_.size(); }

  PackedImage Image() const override;

  const PanelMat& panels() const { return panels_; }
  bool is_int8() const { return panels_.dtype == DType::kI8; }
  const Int8Input& input() const { return input_; }  // int8 only
  void* panel(int64_t index) {
    return buffer_.as<std::byte>() + static_cast<size_t>(index) * panels_.panel_bytes();
  }

  // int8: those of column c, to be filled in.
  int32_t* col_offset() { return columns_.as<int32_t>(); }
  float* col_scale() { return columns_.as<float>() + panels_.num_panels() * panels_.panel_cols; }
  void set_input(const Int8Input& input) { input_ = input; }

 private:
  CpuMatrix(const PanelMat& panels, Buffer buffer, Buffer columns, const Int8Input& input);

  PanelMat panels_;
  Buffer buffer_;
  Buffer columns_;  // int8: [padded n] offsets, then as many scales
  Int8Input input_;
};

// As Kernels::Pack and Kernels::PackInt8. Each panel is made by one member of the team.
std::unique_ptr<CpuMatrix> PackMatrix(ThreadTeam& team, const CpuOps& ops, std::span<const ConstMat> parts,
                                      DType dtype);
std::unique_ptr<CpuMatrix> PackInt8Matrix(ThreadTeam& team, const CpuOps& ops,
                                          std::span<const Int8Part> parts);

}  // namespace penstock
