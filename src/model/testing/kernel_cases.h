// For tests: every table of kernels that this machine can run, by name.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/thread_team.h"
#include "kernels/kernels.h"

namespace penstock::testing {

inline std::vector<std::string> KernelNames() {
  std::vector<std::string> names = {"ref"};
  for (const std::string_view isa : UsableCpuIsas()) names.emplace_back(isa);
  return names;
}

// The kernels and the threads that they use.
struct TestKernels {
  explicit TestKernels(const std::string& name)
      : kernels(name == "ref" ? MakeRefKernels() : MakeCpuKernels(team, name)) {}

  ThreadTeam team{2};
  std::unique_ptr<Kernels> kernels;
};

}  // namespace penstock::testing
