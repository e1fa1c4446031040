// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_matrix.h"

#include <array>
#include <bit>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr int64_t kMaxPanelCols = 64;

bool IsHeld(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kI8; }

PanelMat EmptyPanels(const CpuOps& ops, int64_t n, int64_t k, DType dtype) {
  PanelMat panels;
  panels.dtype = dtype;
  panels.panel_cols = ops.panel_cols;
  panels.n = n;
  panels.k = k;
  panels.k_padded = RoundUp<int64_t>(k, 32);
  return panels;
}

size_t DataBytes(const PanelMat& panels) {
  return panels.panel_bytes() * static_cast<size_t>(panels.num_panels());
}

size_t ColumnBytes(const PanelMat& panels) {
  if (panels.dtype != DType::kI8) return 0;
  return static_cast<size_t>(panels.num_panels() * panels.panel_cols) * (sizeof(int32_t) + sizeof(float));
}

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

CpuMatrix::CpuMatrix(const PanelMat& panels, Buffer buffer, Buffer columns, const Int8Input& input)
    : panels_(panels), buffer_(std::move(buffer)), columns_(std::move(columns)), input_(input) {
  panels_.data = buffer_.data();
  if (!is_int8()) return;
  panels_.col_offset = col_offset();
  panels_.col_scale = col_scale();
}

CpuMatrix::CpuMatrix(const CpuOps& ops, int64_t n, int64_t k, DType dtype)
    : CpuMatrix(EmptyPanels(ops, n, k, dtype), Buffer(DataBytes(EmptyPanels(ops, n, k, dtype))),
                Buffer(ColumnBytes(EmptyPanels(ops, n, k, dtype))), {}) {
  CHECK(IsHeld(dtype)) << DTypeName(dtype);
  CHECK_LE(ops.panel_cols, kMaxPanelCols);
  CHECK(!is_int8() || k <= kMaxInt8K) << k;
}

PackedImage CpuMatrix::Image() const {
  PackedImage image{.numbers = {panels_.n, panels_.k, static_cast<int64_t>(panels_.dtype),
                                std::bit_cast<int32_t>(input_.scale), input_.offset},
                    .memory = {std::span(buffer_.as<const std::byte>(), DataBytes(panels_))}};
  if (is_int8()) image.memory.emplace_back(columns_.as<const std::byte>(), ColumnBytes(panels_));
  return image;
}

std::unique_ptr<CpuMatrix> CpuMatrix::Attach(const CpuOps& ops, const PackedImage& image) {
  const std::vector<int64_t>& numbers = image.numbers;
  if (numbers.size() != 5 || image.memory.empty()) return nullptr;
  const int64_t n = numbers[0], k = numbers[1];
  const auto dtype = static_cast<DType>(numbers[2]);
  if (n <= 0 || k <= 0 || !IsHeld(dtype)) return nullptr;
  const PanelMat panels = EmptyPanels(ops, n, k, dtype);
  const bool is_int8 = dtype == DType::kI8;
  if (image.memory.size() != (is_int8 ? 2 : 1) || image.memory[0].size() != DataBytes(panels)) return nullptr;
  if (is_int8 && image.memory[1].size() != ColumnBytes(panels)) return nullptr;
  const Int8Input input{std::bit_cast<float>(static_cast<int32_t>(numbers[3])),
                        static_cast<int32_t>(numbers[4])};
  return std::unique_ptr<CpuMatrix>(new CpuMatrix(
      panels, Buffer::Borrow(image.memory[0]), is_int8 ? Buffer::Borrow(image.memory[1]) : Buffer(), input));
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
