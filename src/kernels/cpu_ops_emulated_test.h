// AVX-512 products and row operations in emulation (SIMDe), so that every machine tests them. Null where
// SIMDe is not installed. The emulation itself is compiled for AVX2, for speed: call it only where there is
// AVX2.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/cpu_ops.h"

namespace penstock {

const CpuOps* EmulatedAvx512CpuOps();
const CpuOps* EmulatedAvx512Bf16CpuOps();

}  // namespace penstock
