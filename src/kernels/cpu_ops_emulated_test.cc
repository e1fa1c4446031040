// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu_ops_emulated_test.h"

#if __has_include(<simde/x86/avx512.h>)

#pragma GCC diagnostic ignored "-Wpsabi"
#define PENSTOCK_EMULATE_SIMD
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_avx512bf16.h"

namespace penstock {

const CpuOps* EmulatedAvx512CpuOps() { return &kCpuOpsTable<DenseAvx512>; }
const CpuOps* EmulatedAvx512Bf16CpuOps() { return &kCpuOpsTable<DenseAvx512Bf16>; }

}  // namespace penstock

#else

namespace penstock {

const CpuOps* EmulatedAvx512CpuOps() { return nullptr; }
const CpuOps* EmulatedAvx512Bf16CpuOps() { return nullptr; }

}  // namespace penstock

#endif
