// The CPU kernels that the tests of dense operations and experts run on: those of this machine, and AVX-512
// in emulation (SIMDe), so that every machine tests it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cpu/cpu_isa.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu_ops_emulated_test.h"

namespace penstock {

struct CpuBackend {
  std::string name;
  const CpuOps* ops = nullptr;
  bool emulated = false;  // slow

  // Kernels of these inner loops; attention is the generic one.
  std::unique_ptr<CpuKernels> Make(ThreadTeam& team) const {
    return std::make_unique<CpuKernels>(name, *ops, GenericAttentionOps(), team);
  }
};

inline std::vector<CpuBackend> TestedBackends() {
  std::vector<CpuBackend> backends;
  for (const CpuIsa isa : SupportedCpuIsas()) {
    const CpuOps& ops = isa == CpuIsa::kAvx512Bf16   ? Avx512Bf16CpuOps()
                        : isa == CpuIsa::kAvx512Vnni ? Avx512VnniCpuOps()
                        : isa == CpuIsa::kAvx512     ? Avx512CpuOps()
                        : isa == CpuIsa::kAvx2       ? Avx2CpuOps()
                                                     : GenericCpuOps();
    backends.push_back({std::string(CpuIsaName(isa)), &ops});
  }
  if (backends[0].name == "generic") return backends;
  if (EmulatedAvx512CpuOps()) backends.push_back({"emulated_avx512", EmulatedAvx512CpuOps(), true});
  if (EmulatedAvx512Bf16CpuOps())
    backends.push_back({"emulated_avx512_bf16", EmulatedAvx512Bf16CpuOps(), true});
  return backends;
}

inline void PrintTo(const CpuBackend& backend, std::ostream* out) { *out << backend.name; }

}  // namespace penstock
