// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_route.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int32_t kMaxExperts = 2048;  // bounds the memory on the stack

void ComputeScores(const float* logits, int32_t count, RouterShape::Score score, float* scores) {
  if (score == RouterShape::Score::kSigmoid) {
    for (int32_t i = 0; i < count; ++i) scores[i] = 1.0f / (1.0f + std::exp(-logits[i]));
    return;
  }
  const float max = *std::max_element(logits, logits + count);
  double sum = 0;
  for (int32_t i = 0; i < count; ++i) sum += scores[i] = std::exp(logits[i] - max);
  for (int32_t i = 0; i < count; ++i) scores[i] = static_cast<float>(scores[i] / sum);
}

// Indices of the `top_k` largest values, in falling order; of equals, the first. One pass with an insertion
// that most values do not reach. NaN never displaces anything, so the indices are always valid.
void TopK(const float* values, int32_t count, int32_t top_k, int32_t* indices) {
  int32_t held = 0;
  for (int32_t i = 0; i < count; ++i) {
    if (held == top_k && !(values[i] > values[indices[held - 1]])) continue;
    int32_t at = held < top_k ? held++ : top_k - 1;
    for (; at > 0 && values[i] > values[indices[at - 1]]; --at) indices[at] = indices[at - 1];
    indices[at] = i;
  }
}

// Sets the choice scores of experts outside of the best groups to -inf.
void KeepBestGroups(const RouterShape& shape, float* choice) {
  const int32_t group_size = shape.num_experts / shape.num_groups;
  float group_scores[kMaxExperts];
  int32_t best[2];
  for (int32_t g = 0; g < shape.num_groups; ++g) {
    const float* members = choice + int64_t{g} * group_size;
    const int32_t count = std::min(2, group_size);
    TopK(members, group_size, count, best);
    group_scores[g] = 0.0f;
    for (int32_t i = 0; i < count; ++i) group_scores[g] += members[best[i]];
  }
  int32_t kept[kMaxExperts];
  TopK(group_scores, shape.num_groups, shape.top_k_groups, kept);
  bool is_kept[kMaxExperts] = {};
  for (int32_t i = 0; i < shape.top_k_groups; ++i) is_kept[kept[i]] = true;
  for (int32_t e = 0; e < shape.num_experts; ++e) {
    if (!is_kept[e / group_size]) choice[e] = -std::numeric_limits<float>::infinity();
  }
}

}  // namespace

void CheckRouterShape(const RouterShape& shape) {
  CHECK(shape.num_experts > 0 && shape.num_experts <= kMaxExperts) << shape.num_experts;
  CHECK(shape.top_k > 0 && shape.top_k <= shape.num_experts) << shape.top_k;
  CHECK(shape.num_groups > 0 && shape.num_experts % shape.num_groups == 0) << shape.num_groups;
  CHECK(shape.top_k_groups > 0 && shape.top_k_groups <= shape.num_groups) << shape.top_k_groups;
}

void RouteRows(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) {
  float scores[kMaxExperts], choice[kMaxExperts];
  for (int64_t t = 0; t < logits.rows; ++t) {
    ComputeScores(logits.Row<float>(t), shape.num_experts, shape.score, scores);
    for (int32_t e = 0; e < shape.num_experts; ++e)
      choice[e] = scores[e] + (shape.bias ? shape.bias[e] : 0.0f);
    if (shape.num_groups > 1) KeepBestGroups(shape, choice);

    int32_t* chosen = ids + t * shape.top_k;
    TopK(choice, shape.num_experts, shape.top_k, chosen);
    float sum = 0.0f;
    for (int32_t j = 0; j < shape.top_k; ++j) sum += scores[chosen[j]];
    if (shape.score == RouterShape::Score::kSigmoid) sum += 1e-20f;
    for (int32_t j = 0; j < shape.top_k; ++j) {
      weights[t * shape.top_k + j] = scores[chosen[j]] / (shape.normalize ? sum : 1.0f) * shape.scaling;
    }
  }
}

}  // namespace penstock
