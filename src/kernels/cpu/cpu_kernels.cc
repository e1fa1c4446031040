// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_kernels.h"

#include <fmt/format.h>

#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/cpu_route.h"

namespace penstock {
namespace {

constexpr int kPackedVersion = 1;  // one more when what Pack() or PackKvB() make of the same weights changes
constexpr int64_t kMinElementsPerThread = 8192;  // less is not worth waking a thread

bool IsActivation(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; }

void CheckSameShape(const ConstMat& a, const ConstMat& b) {
  CHECK_EQ(a.rows, b.rows);
  CHECK_EQ(a.cols, b.cols);
  CHECK(a.dtype == b.dtype && IsActivation(a.dtype)) << DTypeName(a.dtype) << ", " << DTypeName(b.dtype);
}

ConstRowsView View(const ConstMat& mat, int64_t row) { return {mat.RowPtr(row), mat.stride}; }
RowsView View(const Mat& mat, int64_t row) { return {mat.RowPtr(row), mat.stride}; }

}  // namespace

CpuKernels::CpuKernels(std::string name, const CpuOps& ops, const AttentionOps& attention_ops,
                       ThreadTeam& team)
    : name_(std::move(name)),
      ops_(ops),
      team_(team),
      gemm_(ops, team),
      quantizer_(ops, team),
      moe_(ops, team, gemm_),
      attention_(attention_ops, team) {}

template <typename Body>
void CpuKernels::ForRows(int64_t num_rows, int64_t num_cols, const Body& body) {
  if (num_rows == 0) return;
  const int64_t grain = std::max<int64_t>(1, kMinElementsPerThread / std::max<int64_t>(1, num_cols));
  team_.ParallelFor(num_rows, grain, body);
}

std::unique_ptr<PackedMat> CpuKernels::Pack(std::span<const ConstMat> parts, DType compute) {
  return PackMatrix(team_, ops_, parts, compute);
}

std::unique_ptr<PackedMat> CpuKernels::PackInt8(std::span<const Int8Part> parts) {
  return PackInt8Matrix(team_, ops_, parts);
}

std::string CpuKernels::PackedLayout() const {
  return fmt::format("{} panels of {}, version {}", name_, ops_.panel_cols, kPackedVersion);
}

std::unique_ptr<PackedMat> CpuKernels::AttachMat(const PackedImage& image) {
  return CpuMatrix::Attach(ops_, image);
}

void CpuKernels::Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias, bool accumulate) {
  CHECK_EQ(x.rows, y.rows);
  CHECK(IsActivation(x.dtype) && IsActivation(y.dtype)) << DTypeName(x.dtype) << ", " << DTypeName(y.dtype);
  const auto& matrix = static_cast<const CpuMatrix&>(w);
  GemmProblem problem{.x = x, .w = &matrix.panels(), .y = y, .bias = bias, .accumulate = accumulate};
  if (matrix.is_int8()) {
    const QuantizedRows rows = quantizer_.Run(x, matrix.input());
    problem.x = rows.q;
    problem.x_scale = rows.scale;
  }
  gemm_.Run(std::span(&problem, 1));
}

// Products read whole groups of 64 bytes.
int64_t CpuKernels::QuantizedCols(const PackedMat& w) const {
  const auto& matrix = static_cast<const CpuMatrix&>(w);
  return matrix.is_int8() ? RoundUp<int64_t>(matrix.k(), 64) : 0;
}

void CpuKernels::Quantize(ConstMat x, const PackedMat& w, Mat q, float* scales) {
  CHECK_EQ(q.cols, QuantizedCols(w));
  CHECK_EQ(q.rows, x.rows);
  const Int8Input& input = static_cast<const CpuMatrix&>(w).input();
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    ops_.quantize_rows({.x = {x.RowPtr(begin), x.stride},
                        .dtype = x.dtype,
                        .num_rows = end - begin,
                        .num_cols = x.cols,
                        .input_scale = input.scale,
                        .input_offset = input.offset,
                        .q = q.Row<uint8_t>(begin),
                        .q_stride = q.stride,
                        .scale = scales + begin});
  });
}

void CpuKernels::LinearQuantized(ConstMat q, const float* scales, const PackedMat& w, Mat y,
                                 const float* bias) {
  CHECK_EQ(q.rows, y.rows);
  const auto& matrix = static_cast<const CpuMatrix&>(w);
  const GemmProblem problem{.x = ConstMat(q.data, q.dtype, q.rows, matrix.k(), q.stride),
                            .x_scale = matrix.input().scale > 0 ? nullptr : scales,
                            .w = &matrix.panels(),
                            .y = y,
                            .bias = bias};
  gemm_.Run(std::span(&problem, 1));
}

void CpuKernels::Embed(std::span<const int32_t> ids, ConstMat table, Mat y) {
  CHECK_EQ(static_cast<int64_t>(ids.size()), y.rows);
  CHECK_EQ(table.cols, y.cols);
  CHECK(IsActivation(table.dtype) || table.dtype == DType::kF16) << DTypeName(table.dtype);
  CHECK(IsActivation(y.dtype)) << DTypeName(y.dtype);
  for (const int32_t id : ids) CHECK(id >= 0 && id < table.rows) << id;
  ForRows(y.rows, y.cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      ops_.convert(table.RowPtr(ids[r]), table.dtype, y.RowPtr(r), y.dtype, y.cols);
    }
  });
}

void CpuKernels::RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias) {
  CheckSameShape(x, y);
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    ops_.rms_norm(View(x, begin), weight, bias, eps, View(y, begin), x.dtype, end - begin, x.cols);
  });
}

void CpuKernels::AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                            const float* bias) {
  CheckSameShape(residual, x);
  CheckSameShape(residual, y);
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {  // row by row: the sum is still in the cache when it is normed
      ops_.add(View(x, r), View(residual, r), x.dtype, 1, x.cols);
      ops_.rms_norm(View(ConstMat(residual), r), weight, bias, eps, View(y, r), x.dtype, 1, x.cols);
    }
  });
}

void CpuKernels::Add(ConstMat x, Mat y) {
  CheckSameShape(x, y);
  ForRows(x.rows, x.cols, [&](int64_t begin, int64_t end) {
    ops_.add(View(x, begin), View(y, begin), x.dtype, end - begin, x.cols);
  });
}

void CpuKernels::Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
                      const RopeTable& table, RopeStyle style) {
  CHECK_EQ(static_cast<int64_t>(positions.size()), x.rows);
  CHECK_LE(int64_t{num_heads - 1} * head_stride + table.dim, x.cols);
  CHECK(IsActivation(x.dtype)) << DTypeName(x.dtype);
  CHECK_EQ(table.dim % 2, 0);
  for (const int32_t pos : positions) CHECK(pos >= 0 && pos < table.max_positions) << pos;
  ForRows(x.rows, int64_t{num_heads} * table.dim, [&](int64_t begin, int64_t end) {
    ops_.rope({.x = View(x, begin),
               .dtype = x.dtype,
               .num_rows = end - begin,
               .num_heads = num_heads,
               .head_stride = head_stride,
               .dim = table.dim,
               .interleaved = style == RopeStyle::kInterleaved,
               .positions = positions.data() + begin,
               .cos = table.cos.data(),
               .sin = table.sin.data()});
  });
}

void CpuKernels::SiluMul(ConstMat gate_up, Mat y) {
  CHECK_EQ(gate_up.rows, y.rows);
  CHECK_EQ(gate_up.cols, 2 * y.cols);
  CHECK(gate_up.dtype == y.dtype && IsActivation(y.dtype))
      << DTypeName(gate_up.dtype) << ", " << DTypeName(y.dtype);
  ForRows(y.rows, y.cols, [&](int64_t begin, int64_t end) {
    ops_.silu_mul(View(gate_up, begin), View(y, begin), y.dtype, end - begin, y.cols);
  });
}

void CpuKernels::RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) {
  CHECK_EQ(logits.cols, shape.num_experts);
  CHECK(logits.dtype == DType::kF32) << DTypeName(logits.dtype);
  CheckRouterShape(shape);
  ForRows(logits.rows, 16 * logits.cols, [&](int64_t begin, int64_t end) {
    RouteRows(logits.Rows(begin, end - begin), shape, ids + begin * shape.top_k,
              weights + begin * shape.top_k);
  });
}

void CpuKernels::MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
                        const ExpertWeights& experts, Mat y) {
  CheckSameShape(x, y);
  moe_.Run(x, ids, weights, top_k, experts, y);
}

void CpuKernels::MoeMlpQuantized(ConstMat q, const float* scales, const int32_t* ids, const float* weights,
                                 int32_t top_k, const ExpertWeights& experts, Mat y) {
  CHECK_EQ(q.rows, y.rows);
  CHECK_EQ(q.cols, RoundUp<int64_t>(y.cols, 64));
  const ConstMat x(nullptr, y.dtype, y.rows, y.cols);
  moe_.Run(x, ids, weights, top_k, experts, y, {ConstMat(q.data, q.dtype, q.rows, y.cols, q.stride), scales});
}

size_t CpuKernels::scratch_bytes() const {
  return gemm_.scratch_bytes() + quantizer_.scratch_bytes() + moe_.scratch_bytes() +
         attention_.scratch_bytes();
}

}  // namespace penstock
