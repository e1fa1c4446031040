// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_matrix.h"

#include <array>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr int64_t kMaxPanelCols = 64;

// The rows [first, first + kMaxPanelCols) of the stacked parts; null beyond the end.
std::array<WeightRow, kMaxPanelCols> PanelRows(std::span<const ConstMat> parts, int64_t first) {
  std::array<WeightRow, kMaxPanelCols> rows{};
  int64_t part_begin = 0;
  for (const ConstMat& part : parts) {
    for (int64_t i = 0; i < kMaxPanelCols; ++i) {
      const int64_t row = first + i - part_begin;
      if (row >= 0 && row < part.rows) rows[i] = {part.RowPtr(row), part.dtype};
    }
    part_begin += part.rows;
  }
  return rows;
}

}  // namespace

CpuMatrix::CpuMatrix(const CpuOps& ops, int64_t n, int64_t k, DType dtype)
    : panels_{.dtype = dtype,
              .panel_cols = ops.panel_cols,
              .n = n,
              .k = k,
              .k_padded = RoundUp<int64_t>(k, 32)},
      buffer_(panels_.panel_bytes() * static_cast<size_t>(panels_.num_panels())) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16) << DTypeName(dtype);
  CHECK_LE(ops.panel_cols, kMaxPanelCols);
  panels_.data = buffer_.data();
}

std::unique_ptr<CpuMatrix> PackMatrix(ThreadTeam& team, const CpuOps& ops, std::span<const ConstMat> parts,
                                      DType dtype) {
  CHECK(!parts.empty());
  int64_t n = 0;
  for (const ConstMat& part : parts) {
    CHECK_EQ(part.cols, parts[0].cols);
    CHECK(part.dtype == DType::kF32 || part.dtype == DType::kF16 || part.dtype == DType::kBF16)
        << DTypeName(part.dtype);
    n += part.rows;
  }
  auto matrix = std::make_unique<CpuMatrix>(ops, n, parts[0].cols, dtype);
  team.ParallelFor(matrix->panels().num_panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const auto rows = PanelRows(parts, p * ops.panel_cols);
      ops.pack_panel({.rows = rows.data(), .w = matrix->panels(), .dst = matrix->panel(p)});
    }
  });
  return matrix;
}

}  // namespace penstock
