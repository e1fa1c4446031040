// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_avx512.h"

namespace penstock {

const CpuOps& Avx512CpuOps() { return kCpuOpsTable<DenseAvx512>; }

}  // namespace penstock
