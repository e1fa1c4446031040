// --pp-layer-partition auto: layers to stages so that a long prompt takes as long on each.
//
// What a layer costs is counted (model/layer_flops.h), for a prompt of the longest length; where the default
// partition has been measured on this machine, the count of each of its stages is scaled to what it took.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "plan/stage_partition.h"

namespace penstock {

inline constexpr std::string_view kAutoPartition = "auto";

// In operations, for a prompt of `len` tokens. kUnimplemented for an architecture that is not known.
Result<LayerCosts> PromptCosts(const ModelConfig& model, int32_t len);

// Number of layers of each stage. `default_plan`: with the default partition, but for the memory. Logs what
// was done.
Result<std::vector<int32_t>> AutoPartition(const RunConfig& run, const EnginePlan& default_plan);

}  // namespace penstock
