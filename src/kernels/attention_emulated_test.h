// AVX-512 attention in emulation (SIMDe), so that every machine tests it. Null where SIMDe is not installed.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/attention_ops.h"

namespace penstock {

const AttentionOps* EmulatedAvx512AttentionOps();
const AttentionOps* EmulatedAvx512Bf16AttentionOps();

}  // namespace penstock
