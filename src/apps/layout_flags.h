// From the flags of `simulate --layouts` to layouts, a machine and a model. Errors name the flag.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "apps/flags.h"
#include "base/status.h"
#include "model/model_config.h"
#include "plan/parallel_layout.h"
#include "sim/cluster_spec.h"
#include "sim/model_shape.h"

namespace penstock {

struct LayoutSetup {
  std::vector<ParallelLayout> layouts;
  ClusterSpec cluster;
  ModelShape model;
};

// A config.json is read. kInvalidArgument where flags are given that have no meaning beside --layouts.
Result<LayoutSetup> ResolveLayouts(const ParsedFlags& flags);

ModelShape ShapeOf(const ModelConfig& config);

}  // namespace penstock
