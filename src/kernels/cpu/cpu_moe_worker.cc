// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_moe_worker.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked_math.h"
#include "kernels/cpu/cpu_matrix.h"

namespace penstock {
namespace {

constexpr int64_t kMaxTileCols = 1024;  // bounds the buffer of sums

const CpuMatrix& Matrix(const std::unique_ptr<PackedMat>& mat) { return static_cast<const CpuMatrix&>(*mat); }

void Grow(Buffer& buffer, size_t bytes) {
  if (buffer.size() < bytes) buffer = Buffer(bytes);
}

template <typename T>
void Grow(std::vector<T>& values, int64_t count) {
  if (static_cast<int64_t>(values.size()) < count) values.resize(static_cast<size_t>(count));
}

}  // namespace

CpuMoeWorker::CpuMoeWorker(const CpuOps& ops, ThreadTeam& team)
    : ops_(ops), x_quantizer_(ops, team), inner_quantizer_(ops, team) {}

void CpuMoeWorker::Reserve(const MoeBatch& batch, int64_t num_tokens) {
  const ExpertWeights& experts = *batch.experts;
  const int64_t inter = experts.down[batch.held]->k(), hidden = batch.x.cols, rows = ops_.max_tile_rows;
  Grow(expert_begin_, static_cast<int64_t>(experts.down.size()) + 1);
  Grow(slot_token_, num_tokens * batch.top_k);
  Grow(slot_weight_, num_tokens * batch.top_k);
  Grow(gate_up_, static_cast<size_t>(rows * 2 * inter) * DTypeBytes(batch.x.dtype));
  Grow(inner_, static_cast<size_t>(rows * inter) * DTypeBytes(batch.x.dtype));
  if (batch.y.dtype == DType::kBF16) Grow(sums_, static_cast<size_t>(num_tokens * hidden) * sizeof(float));
  Grow(scratch_, ops_.gemm_scratch_bytes(kMaxTileCols / ops_.panel_cols));
  if (Matrix(experts.gate_up[batch.held]).is_int8() && batch.x_rows.q.data == nullptr)
    x_quantizer_.Reserve(rows, hidden);
  if (Matrix(experts.down[batch.held]).is_int8()) inner_quantizer_.Reserve(rows, inter);
}

size_t CpuMoeWorker::scratch_bytes() const {
  return gate_up_.size() + inner_.size() + sums_.size() + scratch_.size() + x_quantizer_.scratch_bytes() +
         inner_quantizer_.scratch_bytes();
}

void CpuMoeWorker::Run(const MoeBatch& batch, int64_t begin, int64_t end) {
  SortByExpert(batch, begin, end);
  const Mat y = batch.y.Rows(begin, end - begin);
  const bool direct = y.dtype == DType::kF32;
  const Mat sums(direct ? y.data : sums_.data(), DType::kF32, y.rows, y.cols, direct ? y.stride : y.cols);
  for (int64_t t = 0; !direct && t < y.rows; ++t)
    ops_.convert(y.RowPtr(t), y.dtype, sums.RowPtr(t), DType::kF32, y.cols);
  for (size_t e = 0; e < batch.experts->down.size(); ++e) {
    const int64_t first = expert_begin_[e], count = expert_begin_[e + 1] - first;
    const int64_t num_tiles = CeilDiv(count, ops_.max_tile_rows);
    for (int64_t i = 0; i < num_tiles; ++i) {
      const int64_t row = count * i / num_tiles, num_rows = count * (i + 1) / num_tiles - row;
      GateUp(batch, e, begin, first + row, num_rows);
      Down(batch, e, first + row, num_rows, sums);
    }
  }
  for (int64_t t = 0; !direct && t < y.rows; ++t)
    ops_.convert(sums.RowPtr(t), DType::kF32, y.RowPtr(t), y.dtype, y.cols);
}

void CpuMoeWorker::SortByExpert(const MoeBatch& batch, int64_t begin, int64_t end) {
  const size_t num_experts = batch.experts->down.size();
  std::fill(expert_begin_.begin(), expert_begin_.end(), 0);
  for (int64_t i = begin * batch.top_k; i < end * batch.top_k; ++i) {
    const int32_t e = batch.ids[i];
    if (e == -1) continue;
    CHECK(e >= 0 && e < static_cast<int64_t>(num_experts) && batch.experts->down[e] != nullptr) << e;
    ++expert_begin_[e + 1];
  }
  for (size_t e = 0; e < num_experts; ++e) expert_begin_[e + 1] += expert_begin_[e];
  for (int64_t i = begin * batch.top_k; i < end * batch.top_k; ++i) {
    if (batch.ids[i] == -1) continue;
    const int64_t slot = expert_begin_[batch.ids[i]]++;
    slot_token_[slot] = static_cast<int32_t>(i / batch.top_k - begin);
    slot_weight_[slot] = batch.weights[i];
  }
  // Each begin has moved to its end, the next one's begin.
  for (size_t e = num_experts; e > 0; --e) expert_begin_[e] = expert_begin_[e - 1];
  expert_begin_[0] = 0;
}

void CpuMoeWorker::RunPanels(GemmTile tile, const void* then) {
  const int64_t num_panels = tile.w.num_panels(), most = kMaxTileCols / ops_.panel_cols;
  tile.scratch = scratch_.as<std::byte>();
  for (int64_t panel = 0; panel < num_panels; panel += most) {
    tile.panel_begin = panel;
    tile.panel_end = std::min(panel + most, num_panels);
    tile.next_panel = tile.panel_end == num_panels ? then : tile.w.panel(tile.panel_end);
    ops_.gemm(tile);
  }
}

void CpuMoeWorker::GateUp(const MoeBatch& batch, size_t expert, int64_t begin, int64_t slot,
                          int64_t num_rows) {
  const CpuMatrix &w = Matrix(batch.experts->gate_up[expert]), &down = Matrix(batch.experts->down[expert]);
  ConstMat x = batch.x;
  const int32_t* x_rows = &slot_token_[slot];
  const float* x_scale = nullptr;
  if (w.is_int8()) {
    QuantizedRows rows = batch.x_rows;
    if (rows.q.data == nullptr) {
      for (int64_t r = 0; r < num_rows; ++r) x_quantizer_.Fill(x.Rows(begin + x_rows[r], 1), w.input(), r);
      rows = x_quantizer_.Rows(0, num_rows, w.input());
      x_rows = nullptr;
    }
    x = rows.q;
    x_scale = rows.scale;
  }
  if (x_rows != nullptr) {
    x = x.Rows(begin, x.rows - begin);
    if (x_scale != nullptr) x_scale += begin;
  }
  const Mat gate_up(gate_up_.data(), batch.x.dtype, num_rows, w.n());
  const Mat inner(inner_.data(), batch.x.dtype, num_rows, down.k());
  RunPanels({.x = x.data,
             .x_dtype = x.dtype,
             .x_stride = x.stride,
             .x_rows = x_rows,
             .x_scale = x_scale,
             .num_rows = num_rows,
             .w = w.panels(),
             .y = gate_up.data,
             .y_dtype = gate_up.dtype,
             .y_stride = gate_up.stride},
            down.panels().data);
  ops_.silu_mul({gate_up.data, gate_up.stride}, {inner.data, inner.stride}, inner.dtype, num_rows,
                inner.cols);
  if (down.is_int8()) inner_quantizer_.Fill(inner, down.input(), 0);
}

void CpuMoeWorker::Down(const MoeBatch& batch, size_t expert, int64_t slot, int64_t num_rows, Mat sums) {
  const ExpertWeights& experts = *batch.experts;
  const CpuMatrix& w = Matrix(experts.down[expert]);
  ConstMat x(inner_.data(), batch.x.dtype, num_rows, w.k());
  const float* x_scale = nullptr;
  if (w.is_int8()) {
    const QuantizedRows rows = inner_quantizer_.Rows(0, num_rows, w.input());
    x = rows.q;
    x_scale = rows.scale;
  }
  RunPanels({.x = x.data,
             .x_dtype = x.dtype,
             .x_stride = x.stride,
             .x_scale = x_scale,
             .num_rows = num_rows,
             .w = w.panels(),
             .y = sums.data,
             .y_dtype = sums.dtype,
             .y_stride = sums.stride,
             .y_rows = &slot_token_[slot],
             .y_weights = &slot_weight_[slot]},
            NextWeights(experts, expert));
}

const void* CpuMoeWorker::NextWeights(const ExpertWeights& experts, size_t expert) {
  for (size_t next = expert + 1; next < experts.gate_up.size(); ++next) {
    if (experts.gate_up[next] != nullptr) return Matrix(experts.gate_up[next]).panels().data;
  }
  return nullptr;
}

}  // namespace penstock
