// SPDX-License-Identifier: Apache-2.0
#include "kernels/profile/op_work.h"

#include <algorithm>

namespace penstock {
namespace {

constexpr double kMultiplyAdd = 2;

}  // namespace

Arithmetic ArithmeticOf(const PackedMat& w) {
  const double bytes = static_cast<double>(w.bytes());
  const double weights = std::max(1.0, static_cast<double>(w.n()) * static_cast<double>(w.k()));
  // Scales and padding make some more of it: small matrices look wider than they are.
  if (bytes < 1.9 * weights) return Arithmetic::kInt8;
  return bytes < 3.9 * weights ? Arithmetic::kBF16 : Arithmetic::kF32;
}

Arithmetic ArithmeticOf(DType dtype) {
  if (dtype == DType::kI8) return Arithmetic::kInt8;
  return dtype == DType::kBF16 ? Arithmetic::kBF16 : Arithmetic::kF32;
}

double MatBytes(const ConstMat& mat) {
  return static_cast<double>(mat.rows) * static_cast<double>(mat.cols) *
         static_cast<double>(DTypeBytes(mat.dtype));
}

double CausalPairs(const SeqSpan& span) {
  return static_cast<double>(span.len) * (span.pos + (span.len + 1) / 2.0);
}

OpWork LinearWork(const ConstMat& x, const PackedMat& w, const Mat& y, bool accumulate) {
  return {.flops = kMultiplyAdd * static_cast<double>(x.rows) * static_cast<double>(w.n()) *
                   static_cast<double>(w.k()),
          .bytes = MatBytes(x) + static_cast<double>(w.bytes()) + (accumulate ? 2 : 1) * MatBytes(y)};
}

OpWork GqaWork(std::span<const SeqSpan> spans, const GqaShape& shape, const KvLayerView& cache) {
  OpWork work;
  for (const SeqSpan& span : spans) {
    work.flops += kMultiplyAdd * 2 * shape.num_heads * shape.head_dim * CausalPairs(span);
    work.bytes += 2.0 * shape.num_kv_heads * shape.head_dim * (double{1} * span.pos + span.len) *
                  static_cast<double>(DTypeBytes(cache.dtype));
  }
  return work;
}

OpWork MlaWork(std::span<const SeqSpan> spans, const MlaShape& shape, const KvLayerView& cache) {
  OpWork work;
  const double rank = shape.kv_lora_rank, expansion = rank * (shape.nope_dim + shape.v_dim);
  for (const SeqSpan& span : spans) {
    const double keys = double{1} * span.pos + span.len, pairs = CausalPairs(span);
    const double expanded = keys * expansion + pairs * (shape.nope_dim + shape.rope_dim + shape.v_dim);
    const double absorbed = span.len * expansion + pairs * (2 * rank + shape.rope_dim);
    work.flops += kMultiplyAdd * shape.num_heads * std::min(expanded, absorbed);
    work.bytes += keys * (rank + shape.rope_dim) * static_cast<double>(DTypeBytes(cache.dtype));
  }
  return work;
}

OpWork MoeWork(const ConstMat& x, const int32_t* ids, int32_t top_k, const ExpertWeights& experts) {
  OpWork work{.flops = 0, .bytes = 3 * MatBytes(x)};
  const int64_t held = experts.FirstHeld();
  if (held < 0) return work;
  const auto size = [](const PackedMat& w) {
    return static_cast<double>(w.n()) * static_cast<double>(w.k());
  };
  const int64_t num_ids = x.rows * top_k;
  const auto choices = static_cast<double>(num_ids - std::count(ids, ids + num_ids, -1));
  work.flops = kMultiplyAdd * choices * (size(*experts.gate_up[held]) + size(*experts.down[held]));
  double num_held = 0, weight_bytes = 0;
  for (size_t e = 0; e < experts.down.size(); ++e) {
    if (experts.down[e] == nullptr) continue;
    ++num_held;
    weight_bytes += static_cast<double>(experts.gate_up[e]->bytes() + experts.down[e]->bytes());
  }
  work.bytes += std::min(1.0, choices / num_held) * weight_bytes;
  return work;
}

}  // namespace penstock
