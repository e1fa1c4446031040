// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/vec_avx512bf16.h"

namespace penstock {

const AttentionOps& Avx512Bf16AttentionOps() {
  static constexpr AttentionOps kOps =
      MakeAttentionOps<SimdAvx512Bf16, PairWords<SimdAvx512Bf16>, true>("avx512_bf16");
  return kOps;
}

}  // namespace penstock
