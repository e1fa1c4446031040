// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_ops_table.h"
#include "kernels/cpu/dense_simd_avx512.h"
#include "kernels/cpu/int8_simd_avx512vnni.h"

namespace penstock {
namespace {

struct DenseAvx512Vnni : Int8VnniOn<DenseAvx512> {};

}  // namespace

const CpuOps& Avx512VnniCpuOps() { return kCpuOpsTable<DenseAvx512Vnni>; }

}  // namespace penstock
