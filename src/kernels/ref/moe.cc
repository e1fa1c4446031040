// Mixture of experts: routing as DeepSeek-V3 and Qwen3-MoE define it, experts token by token.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "kernels/ref/ref_kernels.h"

namespace penstock {
namespace {

std::vector<float> Scores(const std::vector<float>& logits, RouterShape::Score score) {
  std::vector<float> scores(logits.size());
  if (score == RouterShape::Score::kSigmoid) {
    for (size_t i = 0; i < logits.size(); ++i) scores[i] = 1.0f / (1.0f + std::exp(-logits[i]));
    return scores;
  }
  const float max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) sum += scores[i] = std::exp(logits[i] - max);
  for (float& value : scores) value = static_cast<float>(value / sum);
  return scores;
}

// Indices of the `count` largest values, in falling order; of equals, the first.
std::vector<int32_t> TopK(const std::vector<float>& values, int32_t count) {
  CHECK_LE(count, static_cast<int32_t>(values.size()));
  std::vector<int32_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return values[a] > values[b]; });
  order.resize(count);
  return order;
}

// Sets the choice scores of experts outside of the best groups to -inf.
void KeepBestGroups(std::vector<float>& choice, const RouterShape& shape) {
  if (shape.num_groups <= 1) return;
  CHECK_EQ(shape.num_experts % shape.num_groups, 0);
  const int32_t group_size = shape.num_experts / shape.num_groups;
  std::vector<float> group_scores(shape.num_groups, 0.0f);
  for (int32_t g = 0; g < shape.num_groups; ++g) {
    const std::vector<float> members(choice.begin() + g * group_size, choice.begin() + (g + 1) * group_size);
    for (const int32_t i : TopK(members, std::min(2, group_size))) group_scores[g] += members[i];
  }
  std::vector<bool> kept(shape.num_groups, false);
  for (const int32_t g : TopK(group_scores, shape.top_k_groups)) kept[g] = true;
  for (int32_t e = 0; e < shape.num_experts; ++e) {
    if (!kept[e / group_size]) choice[e] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace

void RefKernels::RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) {
  CHECK_EQ(logits.cols, shape.num_experts);
  CHECK(logits.dtype == DType::kF32);
  for (int64_t t = 0; t < logits.rows; ++t) {
    const std::vector<float> scores = Scores(ReadRow(logits, t), shape.score);
    std::vector<float> choice = scores;
    for (int32_t e = 0; shape.bias && e < shape.num_experts; ++e) choice[e] += shape.bias[e];
    KeepBestGroups(choice, shape);

    const std::vector<int32_t> chosen = TopK(choice, shape.top_k);
    float sum = 0.0f;
    for (const int32_t e : chosen) sum += scores[e];
    if (shape.score == RouterShape::Score::kSigmoid) sum += 1e-20f;
    for (int32_t j = 0; j < shape.top_k; ++j) {
      ids[t * shape.top_k + j] = chosen[j];
      weights[t * shape.top_k + j] = scores[chosen[j]] / (shape.normalize ? sum : 1.0f) * shape.scaling;
    }
  }
}

void RefKernels::MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
                        const ExpertWeights& experts, Mat y) {
  CHECK_EQ(x.rows, y.rows);
  CHECK_EQ(x.cols, y.cols);
  CHECK_EQ(experts.gate_up.size(), experts.down.size());
  for (int64_t t = 0; t < x.rows; ++t) {
    const std::vector<float> input = ReadRow(x, t);
    std::vector<float> sum = ReadRow(y, t);
    for (int32_t j = 0; j < top_k; ++j) {
      const int32_t e = ids[t * top_k + j];
      if (e == -1) continue;
      CHECK(e >= 0 && e < static_cast<int32_t>(experts.down.size()) && experts.down[e] != nullptr) << e;
      const std::vector<float> gate_up = dynamic_cast<const RefMat&>(*experts.gate_up[e]).Apply(input);
      std::vector<float> inner(gate_up.size() / 2);
      for (size_t i = 0; i < inner.size(); ++i) {
        inner[i] = gate_up[i] / (1.0f + std::exp(-gate_up[i])) * gate_up[inner.size() + i];
      }
      const std::vector<float> outer = dynamic_cast<const RefMat&>(*experts.down[e]).Apply(inner);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += weights[t * top_k + j] * outer[i];
    }
    WriteRow(y, t, sum);
  }
}

}  // namespace penstock
