// ParseLayout: a ParallelLayout from its name, as LayoutName() writes it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "base/status.h"
#include "plan/parallel_layout.h"

namespace penstock {

// "pp2tp8", "dp2tp8+ep", "one rank": each dimension once, in any order and case, sizes 1 … 4096.
// kInvalidArgument for anything else.
Result<ParallelLayout> ParseLayout(std::string_view name);

// Names joined by commas.
Result<std::vector<ParallelLayout>> ParseLayouts(std::string_view names);

}  // namespace penstock
