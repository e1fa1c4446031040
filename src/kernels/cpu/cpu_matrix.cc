// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_matrix.h"

#include <array>
#include <vector>

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

// Packs every panel of `matrix`.
void PackPanels(ThreadTeam& team, const CpuOps& ops, std::span<const ConstMat> parts, CpuMatrix& matrix) {
  team.ParallelFor(matrix.panels().num_panels(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const auto rows = PanelRows(parts, p * ops.panel_cols);
      ops.pack_panel({.rows = rows.data(),
                      .w = matrix.panels(),
                      .dst = matrix.panel(p),
                      .row_sums = matrix.is_int8() ? matrix.col_offset() + p * ops.panel_cols : nullptr});
    }
  });
}

}  // namespace

CpuMatrix::CpuMatrix(const CpuOps& ops, int64_t n, int64_t k, DType dtype)
    : panels_{.dtype = dtype,
              .panel_cols = ops.panel_cols,
              .n = n,
              .k = k,
              .k_padded = RoundUp<int64_t>(k, 32)},
      buffer_(panels_.panel_bytes() * static_cast<size_t>(panels_.num_panels())) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kI8) << DTypeName(dtype);
  CHECK_LE(ops.panel_cols, kMaxPanelCols);
  panels_.data = buffer_.data();
  if (dtype != DType::kI8) return;
  CHECK_LE(k, kMaxInt8K);
  columns_ = Buffer(static_cast<size_t>(panels_.num_panels() * panels_.panel_cols) *
                    (sizeof(int32_t) + sizeof(float)));
  panels_.col_offset = col_offset();
  panels_.col_scale = col_scale();
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
  PackPanels(team, ops, parts, *matrix);
  return matrix;
}

std::unique_ptr<CpuMatrix> PackInt8Matrix(ThreadTeam& team, const CpuOps& ops,
                                          std::span<const Int8Part> parts) {
  CHECK(!parts.empty());
  const Int8Input input{parts[0].input_scale, parts[0].input_offset};
  std::vector<ConstMat> rows;
  int64_t n = 0;
  for (const Int8Part& part : parts) {
    CHECK_EQ(part.k, parts[0].k);
    CHECK((Int8Input{part.input_scale, part.input_offset} == input)) << "parts of different inputs";
    rows.emplace_back(part.weight, DType::kI8, part.n, part.k);
    n += part.n;
  }
  auto matrix = std::make_unique<CpuMatrix>(ops, n, parts[0].k, DType::kI8);
  PackPanels(team, ops, rows, *matrix);  // leaves the sums of the rows in the offsets
  matrix->set_input(input);
  int32_t* offset = matrix->col_offset();
  float* scale = matrix->col_scale();
  for (const Int8Part& part : parts) {
    const bool is_static = part.input_scale > 0;
    for (int64_t i = 0; i < part.n; ++i) {
      const int64_t sum = -128 * int64_t{*offset} + (is_static ? part.quant_bias[i] : 0);
      *offset++ = static_cast<int32_t>(sum);  // modulo 2^32, as all sums
      *scale++ = is_static ? part.deq_scale[i] : part.weight_scale[i];
    }
  }
  return matrix;
}

}  // namespace penstock
