// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_avx2.h"

namespace penstock {

const CpuOps& Avx2CpuOps() { return kCpuOpsTable<DenseAvx2>; }

}  // namespace penstock
