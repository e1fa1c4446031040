// From a RunConfig to a running engine: reads the model's config, cuts the layers, plans memory, loads, and
// wires tokenizer, pipeline and engine.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/memory_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/token_text.h"
#include "model/model.h"
#include "plan/executor.h"
#include "text/tokenizer.h"

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

// An engine and all that it stands on. Destroyed from the engine down.
struct RunningEngine {
  EnginePlan plan;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<TokenTextFactory> texts;
  std::unique_ptr<Executor> pipeline;
  std::unique_ptr<Engine> engine;
};

// Loads the weights and starts the engine, with a bar and vLLM's lines in the log.
Result<RunningEngine> StartEngine(const RunConfig& run, EnginePlan plan);

// "stage 0: layers 0-14, core 0; stage 1: layers 15-29, core 1".
std::string FormatStages(const EnginePlan& plan);

}  // namespace penstock
