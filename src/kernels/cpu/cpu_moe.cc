// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_moe.h"

#include <algorithm>
#include <functional>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/cpu_matrix.h"

namespace penstock {
namespace {

const CpuMatrix& Matrix(const std::unique_ptr<PackedMat>& mat) { return static_cast<const CpuMatrix&>(*mat); }

// Whether all have the input of mats[held].
bool SameInput(const std::vector<std::unique_ptr<PackedMat>>& mats, int64_t held) {
  return std::all_of(mats.begin(), mats.end(), [&](const auto& mat) {
    return mat == nullptr || Matrix(mat).input() == Matrix(mats[held]).input();
  });
}

int64_t NumHeld(const ExpertWeights& experts) {
  return std::count_if(experts.down.begin(), experts.down.end(),
                       [](const auto& mat) { return mat != nullptr; });
}

void SetInput(GemmProblem& problem, const QuantizedRows& rows) {
  problem.x = rows.q;
  problem.x_scale = rows.scale;
}

void Reserve(Buffer& buffer, size_t bytes) {
  if (buffer.size() < bytes) buffer = Buffer(bytes);
}

}  // namespace

CpuMoe::CpuMoe(const CpuOps& ops, ThreadTeam& team, CpuGemm& gemm, size_t piece_bytes,
               int64_t min_worker_rows)
    : ops_(ops),
      team_(team),
      gemm_(gemm),
      piece_bytes_(piece_bytes),
      min_worker_rows_(min_worker_rows),
      x_quantizer_(ops, team),
      inner_quantizer_(ops, team) {
  for (int i = 0; i < team.size(); ++i) workers_.emplace_back(ops, team);
}

size_t CpuMoe::scratch_bytes() const {
  size_t bytes = gate_up_.size() + inner_.size() + outer_.size() + sums_.size() +
                 x_quantizer_.scratch_bytes() + inner_quantizer_.scratch_bytes();
  for (const CpuMoeWorker& worker : workers_) bytes += worker.scratch_bytes();
  return bytes;
}

void CpuMoe::Run(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
                 const ExpertWeights& experts, Mat y, QuantizedRows quantized) {
  CHECK_EQ(experts.gate_up.size(), experts.down.size());
  const int64_t num_ids = x.rows * top_k, num_slots = num_ids - std::count(ids, ids + num_ids, -1);
  if (num_slots == 0) return;
  held_ = experts.FirstHeld();
  CHECK_GE(held_, 0) << "choices, and no expert";
  const bool int8_x = Matrix(experts.gate_up[held_]).is_int8();
  quantize_slots_ = int8_x && !SameInput(experts.gate_up, held_);
  x_rows_ = quantized;
  if (quantized.q.data != nullptr) {
    CHECK(int8_x && !quantize_slots_) << "rows are quantised for experts with the same input";
  } else if (int8_x && !quantize_slots_) {
    x_rows_ = x_quantizer_.Run(x, Matrix(experts.gate_up[held_]).input());
  }
  if (const int64_t num_runs = NumRuns(x.rows, num_slots / NumHeld(experts)); num_runs > 0)
    return RunWorkers({x, ids, weights, top_k, &experts, held_, x_rows_, y}, num_runs);

  SortByExpert(x.rows, ids, weights, top_k, experts);
  const int64_t inter = experts.down[held_]->k(), hidden = x.cols;
  const size_t slot_bytes = static_cast<size_t>(3 * inter) * DTypeBytes(x.dtype) + hidden * sizeof(float) +
                            (quantize_slots_ ? hidden : 0) +
                            (Matrix(experts.down[held_]).is_int8() ? inter : 0);
  const int64_t most = std::max<int64_t>(1, static_cast<int64_t>(piece_bytes_ / slot_bytes));
  const int64_t num_pieces = (num_slots + most - 1) / most, piece = (num_slots + num_pieces - 1) / num_pieces;
  Reserve(gate_up_, static_cast<size_t>(piece * 2 * inter) * DTypeBytes(x.dtype));
  Reserve(inner_, static_cast<size_t>(piece * inter) * DTypeBytes(x.dtype));
  Reserve(outer_, static_cast<size_t>(piece * hidden) * sizeof(float));
  if (y.dtype == DType::kBF16) Reserve(sums_, static_cast<size_t>(y.rows * hidden) * sizeof(float));

  for (int64_t begin = 0; begin < num_slots; begin += piece) {
    const int64_t end = std::min(begin + piece, num_slots);
    RunPiece(x, experts, begin, end);
    Combine(y, top_k, begin, end);
  }
}

int64_t CpuMoe::NumRuns(int64_t num_tokens, int64_t expert_rows) const {
  if (expert_rows < min_worker_rows_ * team_.size() || num_tokens < team_.size()) return 0;
  return std::max<int64_t>(1, expert_rows / (kWorkerRows * team_.size())) * team_.size();
}

void CpuMoe::RunWorkers(const MoeBatch& batch, int64_t num_runs) {
  for (CpuMoeWorker& worker : workers_) worker.Reserve(batch, CeilDiv(batch.x.rows, num_runs));
  team_.ForEach(num_runs, [&](int64_t run, int thread_idx) {
    workers_[thread_idx].Run(batch, batch.x.rows * run / num_runs, batch.x.rows * (run + 1) / num_runs);
  });
}

void CpuMoe::SortByExpert(int64_t num_tokens, const int32_t* ids, const float* weights, int32_t top_k,
                          const ExpertWeights& experts) {
  const auto num_experts = static_cast<int64_t>(experts.down.size());
  expert_begin_.assign(num_experts + 1, 0);
  for (int64_t i = 0; i < num_tokens * top_k; ++i) {
    if (ids[i] == -1) continue;
    CHECK(ids[i] >= 0 && ids[i] < num_experts && experts.down[ids[i]] != nullptr) << ids[i];
    ++expert_begin_[ids[i] + 1];
  }
  for (int64_t e = 0; e < num_experts; ++e) expert_begin_[e + 1] += expert_begin_[e];

  slot_token_.resize(expert_begin_[num_experts]);
  token_slots_.resize(num_tokens * top_k);
  token_weights_.resize(num_tokens * top_k);
  for (int64_t t = 0; t < num_tokens; ++t) {
    int32_t* slots = &token_slots_[t * top_k];
    float* slot_weights = &token_weights_[t * top_k];
    for (int32_t j = 0; j < top_k; ++j) {
      const int32_t e = ids[t * top_k + j];
      const int64_t slot = e == -1 ? -1 : expert_begin_[e]++;
      if (slot >= 0) slot_token_[slot] = static_cast<int32_t>(t);
      int32_t at = j;  // insertion: the token's slots rise
      for (; at > 0 && slots[at - 1] > slot; --at) {
        slots[at] = slots[at - 1];
        slot_weights[at] = slot_weights[at - 1];
      }
      slots[at] = static_cast<int32_t>(slot);
      slot_weights[at] = weights[t * top_k + j];
    }
  }
  // Each begin has moved to its end, the next one's begin.
  std::move_backward(expert_begin_.begin(), expert_begin_.end() - 1, expert_begin_.end());
  expert_begin_[0] = 0;
}

template <typename MakeProblem>
void CpuMoe::RunExperts(int64_t slot_begin, int64_t slot_end, const MakeProblem& make_problem) {
  problems_.clear();
  for (size_t e = 0; e + 1 < expert_begin_.size(); ++e) {
    const int64_t begin = std::max(expert_begin_[e], slot_begin),
                  end = std::min(expert_begin_[e + 1], slot_end);
    if (begin < end) problems_.push_back(make_problem(e, begin, end - begin));
  }
  gemm_.Run(problems_);
}

size_t CpuMoe::ExpertOf(int64_t slot) const {
  return std::upper_bound(expert_begin_.begin(), expert_begin_.end(), slot) - expert_begin_.begin() - 1;
}

void CpuMoe::QuantizeSlots(ConstMat x, const ExpertWeights& experts, int64_t slot_begin, int64_t slot_end) {
  x_quantizer_.Reserve(slot_end - slot_begin, x.cols);
  const auto quantize = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t slot = slot_begin + i;
      x_quantizer_.Fill(x.Rows(slot_token_[slot], 1), Matrix(experts.gate_up[ExpertOf(slot)]).input(), i);
    }
  };
  team_.ParallelFor(slot_end - slot_begin, 8, std::ref(quantize));
}

void CpuMoe::Activate(const ExpertWeights& experts, Mat gate_up, Mat inner, int64_t slot_begin) {
  const bool int8 = Matrix(experts.down[held_]).is_int8();
  if (int8) inner_quantizer_.Reserve(inner.rows, inner.cols);
  const auto activate = [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {  // row by row: the product is in the cache when it is quantised
      ops_.silu_mul({gate_up.RowPtr(r), gate_up.stride}, {inner.RowPtr(r), inner.stride}, inner.dtype, 1,
                    inner.cols);
      if (int8)
        inner_quantizer_.Fill(inner.Rows(r, 1), Matrix(experts.down[ExpertOf(slot_begin + r)]).input(), r);
    }
  };
  team_.ParallelFor(inner.rows, 8, std::ref(activate));
}

void CpuMoe::RunPiece(ConstMat x, const ExpertWeights& experts, int64_t slot_begin, int64_t slot_end) {
  const int64_t rows = slot_end - slot_begin, inter = experts.down[held_]->k();
  const Mat gate_up(gate_up_.data(), x.dtype, rows, 2 * inter);
  const Mat inner(inner_.data(), x.dtype, rows, inter);
  const Mat outer(outer_.data(), DType::kF32, rows, x.cols);
  if (quantize_slots_) QuantizeSlots(x, experts, slot_begin, slot_end);
  RunExperts(slot_begin, slot_end, [&](size_t e, int64_t slot, int64_t count) {
    const CpuMatrix& w = Matrix(experts.gate_up[e]);
    GemmProblem problem{
        .x = x, .x_rows = &slot_token_[slot], .w = &w.panels(), .y = gate_up.Rows(slot - slot_begin, count)};
    if (quantize_slots_) {
      problem.x_rows = nullptr;
      SetInput(problem, x_quantizer_.Rows(slot - slot_begin, count, w.input()));
    } else if (w.is_int8()) {
      SetInput(problem, x_rows_);
    }
    return problem;
  });
  Activate(experts, gate_up, inner, slot_begin);
  RunExperts(slot_begin, slot_end, [&](size_t e, int64_t slot, int64_t count) {
    const CpuMatrix& w = Matrix(experts.down[e]);
    GemmProblem problem{.x = inner.Rows(slot - slot_begin, count),
                        .w = &w.panels(),
                        .y = outer.Rows(slot - slot_begin, count)};
    if (w.is_int8()) SetInput(problem, inner_quantizer_.Rows(slot - slot_begin, count, w.input()));
    return problem;
  });
}

void CpuMoe::Combine(Mat y, int32_t top_k, int64_t slot_begin, int64_t slot_end) {
  const bool direct = y.dtype == DType::kF32;
  const bool first = slot_begin == 0, last = slot_end == static_cast<int64_t>(slot_token_.size());
  const auto combine = [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* sum = direct ? y.Row<float>(t) : sums_.as<float>() + t * y.cols;
      if (!direct && first) ops_.convert(y.RowPtr(t), y.dtype, sum, DType::kF32, y.cols);
      for (int64_t i = t * top_k; i < (t + 1) * top_k; ++i) {
        const int64_t slot = token_slots_[i];
        if (slot < slot_begin || slot >= slot_end) continue;
        ops_.add_scaled(outer_.as<float>() + (slot - slot_begin) * y.cols, token_weights_[i], sum, y.cols);
      }
      if (!direct && last) ops_.convert(sum, DType::kF32, y.RowPtr(t), y.dtype, y.cols);
    }
  };
  team_.ParallelFor(y.rows, 4, std::ref(combine));
}

}  // namespace penstock
