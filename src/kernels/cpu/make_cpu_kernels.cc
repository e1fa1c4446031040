// The choice of instruction set.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/cpu_kernels.h"

namespace penstock {
namespace {

const CpuOps& DenseTable(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx512Bf16:
      return Avx512Bf16CpuOps();
    case CpuIsa::kAvx512Vnni:
      return Avx512VnniCpuOps();
    case CpuIsa::kAvx512:
      return Avx512CpuOps();
    case CpuIsa::kAvx2:
      return Avx2CpuOps();
    case CpuIsa::kGeneric:
      break;
  }
  return GenericCpuOps();
}

const AttentionOps& AttentionTable(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kAvx512Bf16:
      return Avx512Bf16AttentionOps();
    case CpuIsa::kAvx512Vnni:
    case CpuIsa::kAvx512:
      return Avx512AttentionOps();
    case CpuIsa::kAvx2:
      return Avx2AttentionOps();
    case CpuIsa::kGeneric:
      break;
  }
  return GenericAttentionOps();
}

}  // namespace

std::vector<std::string_view> UsableCpuIsas() {
  std::vector<std::string_view> names;
  for (const CpuIsa isa : SupportedCpuIsas()) names.push_back(CpuIsaName(isa));
  return names;
}

std::unique_ptr<Kernels> MakeCpuKernels(ThreadTeam& team, std::string_view isa) {
  for (const CpuIsa supported : SupportedCpuIsas()) {
    if (isa != "auto" && isa != CpuIsaName(supported)) continue;
    return std::make_unique<CpuKernels>(std::string(CpuIsaName(supported)), DenseTable(supported),
                                        AttentionTable(supported), team);
  }
  return nullptr;
}

}  // namespace penstock
