// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_generic.h"

namespace penstock {

const CpuOps& GenericCpuOps() { return kCpuOpsTable<DenseGeneric>; }

}  // namespace penstock
