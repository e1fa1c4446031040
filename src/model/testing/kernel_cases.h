// For tests: every table of kernels that this machine can run, by name.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace penstock::testing {

inline std::vector<std::string> KernelNames() { return {"ref"}; }

inline std::unique_ptr<Kernels> MakeKernels(const std::string&) { return MakeRefKernels(); }

}  // namespace penstock::testing
