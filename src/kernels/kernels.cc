// SPDX-License-Identifier: Apache-2.0
#include "kernels/kernels.h"

namespace penstock {

void Kernels::GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how,
                               std::span<const SeqSpan> spans, const GqaShape& shape,
                               const KvLayerView& cache) {
  if (how.q_norm != nullptr) HeadRmsNorm(q, shape.num_heads, shape.head_dim, how.q_norm, how.eps);
  if (how.k_norm != nullptr) HeadRmsNorm(k, shape.num_kv_heads, shape.head_dim, how.k_norm, how.eps);
  Rope(q, shape.num_heads, shape.head_dim, how.positions, *how.rope, how.style);
  Rope(k, shape.num_kv_heads, shape.head_dim, how.positions, *how.rope, how.style);
  GqaStore(k, v, spans, shape, cache);
}

}  // namespace penstock
