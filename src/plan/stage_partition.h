// StagePartition: which layers each pipeline stage holds.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace penstock {

// Number of layers of each stage, first stage first. All are > 0 and their sum is `num_layers`.
//
// vLLM's rule, so that a checkpoint is cut where its users expect it: what does not divide evenly goes, one
// layer each, to the stages from the second to last backwards, because the last one also has the head.
//   61 layers, 4 stages: 15 15 16 15        61 layers, 2 stages: 31 30
// kInvalidArgument if there are more stages than layers.
Result<std::vector<int32_t>> DefaultStagePartition(int32_t num_layers, int32_t num_stages);

// The operator's own list, "16,15,15,15". kInvalidArgument unless it has `num_stages` numbers > 0 whose sum
// is `num_layers`.
Result<std::vector<int32_t>> ParseStagePartition(std::string_view text, int32_t num_layers,
                                                 int32_t num_stages);

}  // namespace penstock
