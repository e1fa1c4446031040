// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/attention_impl.h"
#include "kernels/cpu/vec_generic.h"

namespace penstock {

const AttentionOps& GenericAttentionOps() {
  static constexpr AttentionOps kOps = MakeAttentionOps<SimdGeneric>("generic");
  return kOps;
}

}  // namespace penstock
