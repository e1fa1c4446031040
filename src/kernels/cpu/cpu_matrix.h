// CpuMatrix: a weight matrix in the panels of cpu_ops.h.
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

class CpuMatrix : public PackedMat {
 public:
  CpuMatrix(const CpuOps& ops, int64_t n, int64_t k, DType dtype);

  int64_t n() const override { return panels_.n; }
  int64_t k() const override { return panels_.k; }
  size_t bytes() const override { return buffer_.size(); }

  const PanelMat& panels() const { return panels_; }
  void* panel(int64_t index) {
    return buffer_.as<std::byte>() + static_cast<size_t>(index) * panels_.panel_bytes();
  }

 private:
  PanelMat panels_;
  Buffer buffer_;
};

// As Kernels::Pack. Each panel is made by one member of the team.
std::unique_ptr<CpuMatrix> PackMatrix(ThreadTeam& team, const CpuOps& ops, std::span<const ConstMat> parts,
                                      DType dtype);

}  // namespace penstock
