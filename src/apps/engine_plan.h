// EnginePlan: from a RunConfig to what will be run: the model's config read, its layers cut, memory planned.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "apps/job.h"
#include "apps/memory_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "model/expert_placement.h"
#include "model/model.h"
#include "plan/parallel_layout.h"

namespace penstock {

// What is known before any weight is read.
struct EnginePlan {
  ModelConfig model;
  ModelOptions options;                            // dtype, block size and lengths as resolved
  ParallelLayout layout;                           // expert_parallel only where there are experts
  std::shared_ptr<const ExpertPlacement> experts;  // of the ranks' shares; null: blocks
  std::vector<LayerRange> ranges;                  // [world_size], with their shares
  std::vector<std::vector<int>> cores;             // [world_size]
  std::string kernels;                             // as --kernel-isa names them, "auto" resolved
  MemoryPlan memory;
  uint64_t free_bytes = 0;
  Job* job = nullptr;  // null: all ranks are in this process. It outlives the plan

  // The rank that leads a stage of replica 0.
  size_t Leader(size_t stage) const { return stage * static_cast<size_t>(layout.ranks_per_stage()); }
};

// The ranks of one replica, stage by stage.
struct ReplicaRanks {
  std::vector<LayerRange> ranges;
  std::vector<std::vector<int>> cores;
};
ReplicaRanks RanksOfReplica(const EnginePlan& plan, int32_t dp_idx);

// kInvalidArgument, kUnimplemented, kNotFound or kResourceExhausted: what is wrong, and what to change.
// All processes of a job call this, and it is the same on all of them, save which cores are known: their
// own ranks'.
Result<EnginePlan> PlanEngine(const RunConfig& run, Job* job = nullptr);

// Of replica 0: "layers 0-14, core 0", or "layers 0-14, ranks 0-1, cores 0; 1".
std::string FormatStage(const EnginePlan& plan, size_t stage);

// "Pipeline of 2: stage 0: layers 0-14, core 0; stage 1: layers 15-29, core 1", or "Pipeline of 2 stages x 2
// ranks (pp2tp2): …".
std::string FormatPipeline(const EnginePlan& plan);

}  // namespace penstock
