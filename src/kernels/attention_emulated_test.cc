// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention_emulated_test.h"

#if __has_include(<simde/x86/avx512.h>)

#pragma GCC diagnostic ignored "-Wpsabi"  // no vector leaves this file
#define PENSTOCK_EMULATE_SIMD
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/vec_avx512bf16.h"

namespace penstock {

const AttentionOps* EmulatedAvx512AttentionOps() {
  static constexpr AttentionOps kOps = MakeAttentionOps<SimdAvx512>("emulated avx512");
  return &kOps;
}

const AttentionOps* EmulatedAvx512Bf16AttentionOps() {
  static constexpr AttentionOps kOps =
      MakeAttentionOps<SimdAvx512Bf16, PairWords<SimdAvx512Bf16>, true>("emulated avx512_bf16");
  return &kOps;
}

}  // namespace penstock

#else

namespace penstock {

const AttentionOps* EmulatedAvx512AttentionOps() { return nullptr; }
const AttentionOps* EmulatedAvx512Bf16AttentionOps() { return nullptr; }

}  // namespace penstock

#endif
