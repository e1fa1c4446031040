// cpuid by the compiler's own decoder, which also asks xgetbv whether the system saves the wide registers.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace penstock {
namespace {

bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool HasAvx512() {
  return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool HasAvx512Vnni() { return HasAvx512() && __builtin_cpu_supports("avx512vnni"); }

bool HasAvx512Bf16() { return HasAvx512Vnni() && __builtin_cpu_supports("avx512bf16"); }

}  // namespace

std::vector<CpuIsa> SupportedCpuIsas() {
  __builtin_cpu_init();
  std::vector<CpuIsa> isas;
  if (HasAvx512Bf16()) isas.push_back(CpuIsa::kAvx512Bf16);
  if (HasAvx512Vnni()) isas.push_back(CpuIsa::kAvx512Vnni);
  if (HasAvx512()) isas.push_back(CpuIsa::kAvx512);
  if (HasAvx2()) isas.push_back(CpuIsa::kAvx2);
  isas.push_back(CpuIsa::kGeneric);
  return isas;
}

bool EnableAmxBf16() {
  constexpr unsigned kAmxBf16Bit = 1u << 22, kAmxTileBit = 1u << 24;  // cpuid 7.0 edx
  constexpr long kArchReqXcompPerm = 0x1023, kXfeatureTileData = 18;
  unsigned eax, ebx, ecx, edx;
  if (!HasAvx512Bf16() || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  if (!(edx & kAmxBf16Bit) || !(edx & kAmxTileBit)) return false;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureTileData) == 0;
}

}  // namespace penstock
