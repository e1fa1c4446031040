// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_avx512bf16.h"

namespace penstock {

const CpuOps& Avx512Bf16CpuOps() { return kCpuOpsTable<DenseAvx512Bf16>; }

}  // namespace penstock
