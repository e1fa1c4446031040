// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/vec_avx2.h"

namespace penstock {

const AttentionOps& Avx2AttentionOps() {
  static constexpr AttentionOps kOps = MakeAttentionOps<SimdAvx2>("avx2");
  return kOps;
}

}  // namespace penstock
