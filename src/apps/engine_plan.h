// EnginePlan: from a RunConfig to what will be run: the model's config read, its layers cut, memory planned.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/memory_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "model/model.h"

namespace penstock {

// What is known before any weight is read.
struct EnginePlan {
  ModelConfig model;
  ModelOptions options;                 // dtype, block size and lengths as resolved
  std::vector<LayerRange> ranges;       // [num_stages]
  std::vector<std::vector<int>> cores;  // [num_stages]
  std::string kernels;                  // as --kernel-isa names them, "auto" resolved
  MemoryPlan memory;
  uint64_t free_bytes = 0;
};

// kInvalidArgument, kUnimplemented, kNotFound or kResourceExhausted: what is wrong, and what to change.
Result<EnginePlan> PlanEngine(const RunConfig& run);

// "layers 0-14, core 0".
std::string FormatStage(const EnginePlan& plan, size_t stage);

// "stage 0: layers 0-14, core 0; stage 1: layers 15-29, core 1".
std::string FormatStages(const EnginePlan& plan);

}  // namespace penstock
