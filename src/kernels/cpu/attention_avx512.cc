// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/vec_avx512.h"

namespace penstock {

const AttentionOps& Avx512AttentionOps() {
  static constexpr AttentionOps kOps = MakeAttentionOps<SimdAvx512>("avx512");
  return kOps;
}

}  // namespace penstock
