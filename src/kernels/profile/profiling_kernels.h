// ProfilingKernels: any kernels, with a clock read around each call. They compute what the kernels inside do,
// with the same packed weights; a rank without a profile has the plain kernels and pays nothing.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "kernels/kernels.h"
#include "kernels/profile/op_profile.h"

namespace penstock {

// `profile` outlives the kernels.
std::unique_ptr<Kernels> MakeProfilingKernels(std::unique_ptr<Kernels> kernels, OpProfile& profile);

}  // namespace penstock
