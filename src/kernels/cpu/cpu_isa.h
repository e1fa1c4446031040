// The instruction sets that the kernels are compiled for, and which of them this processor runs.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

namespace penstock {

enum class CpuIsa { kGeneric, kAvx2, kAvx512, kAvx512Vnni, kAvx512Bf16 };

constexpr std::string_view CpuIsaName(CpuIsa isa) {
  switch (isa) {
    case CpuIsa::kGeneric:
      return "generic";
    case CpuIsa::kAvx2:
      return "avx2";
    case CpuIsa::kAvx512:
      return "avx512";
    case CpuIsa::kAvx512Vnni:
      return "avx512_vnni";
    case CpuIsa::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "?";
}

// Those that processor and operating system support, best first. kGeneric is always last.
std::vector<CpuIsa> SupportedCpuIsas();

// True if the processor multiplies bf16 matrix tiles (AMX) and the operating system lets this process use
// them. Asks the system for the permission.
bool EnableAmxBf16();

}  // namespace penstock
