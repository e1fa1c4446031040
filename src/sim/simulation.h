// Simulate: the product's own engine core, scheduler and chunk planner over a pipeline in virtual time. What
// they decide is what a server would decide if its stages were as fast as the cost model says.
//
// Deterministic: the same configuration gives the same report.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/step_trace.h"
#include "plan/chunk_planner.h"
#include "plan/cost_model.h"
#include "plan/make_chunk_planner.h"
#include "sched/scheduler_config.h"
#include "sim/lock_step.h"
#include "sim/step_cost.h"
#include "sim/workload.h"

namespace penstock {

struct SimulationConfig {
  CostModel cost;  // known; the planner is told the same
  // How long stages really take: by layout (layout_simulation.h). Unset: what `cost` says, and nothing
  // between stages.
  StepCost step_cost = nullptr;
  std::function<int64_t(const Step&)> transfer_us = nullptr;
  // Engines side by side, each with `cost`; requests go to the one with the least predicted work.
  int num_replicas = 1;
  JointStepCost joint_cost = nullptr;  // set: replicas go in lock step, and this in place of step_cost
  int32_t max_num_batched_tokens = 32768;
  int32_t max_num_seqs = 256;  // lowered to max_num_batched_tokens
  int32_t block_size = 128;
  SchedulingPolicy scheduling = SchedulingPolicy::kSrpt;
  double noise = 0;  // of the times of steps (cost_model_step_cost.h)
  uint64_t seed = 0;
  // Requests of full length, one after the other, before those that count: what a policy that learns needs.
  int32_t num_warm_up = 0;
};

struct SimulatedRequest {
  int32_t prompt_len = 0;
  int32_t cached_len = 0;  // found in the prefix cache
  int32_t output_len = 0;
  double arrival_s = 0;
  double ttft_s = 0;
  double e2e_s = 0;
  std::vector<int32_t> chunks;  // of the prompt, in order
};

struct SimulationReport {
  std::string policy;
  std::vector<SimulatedRequest> requests;
  double duration_s = 0;                 // first arrival to last end
  std::vector<double> stage_busy_share;  // [num_stages], of the duration; mean over the replicas
  // Pure work (PureWork of cost_model.h, of what was not cached) ÷ (stages × duration); of one request alone,
  // ÷ (stages × TTFT). Of replicas: per replica.
  double efficiency = 0;
  StepTrace trace = StepTrace(SIZE_MAX);  // of the requests that count; time 0 is their begin
  std::vector<StepTrace> other_traces;    // of the replicas after the first

  int64_t num_steps() const;
};

// Longest sequence that the engine of a simulation takes.
int32_t MaxModelLen(const SimulationConfig& config, const Traffic& traffic);

// Prompts that share a prefix: it is computed once, after the warm-up and before time 0, and found in the
// scheduler's prefix cache. Blocks of KV cache there are as many as all requests need.
// kInvalidArgument where that is more than can be simulated. REQUIRES: traffic from workload.h, not empty.
// `make_planner`: called once for each replica.
using PlannerFactory = std::function<std::unique_ptr<ChunkPlanner>()>;
Result<SimulationReport> Simulate(const SimulationConfig& config, const Traffic& traffic,
                                  const PlannerFactory& make_planner);
// Of one replica.
Result<SimulationReport> Simulate(const SimulationConfig& config, const Traffic& traffic,
                                  std::unique_ptr<ChunkPlanner> planner);

// The same with a policy. Of `options`, what SimulationConfig says too (max_tokens, block_size) and
// max_model_len are set from there.
Result<SimulationReport> SimulatePolicy(const SimulationConfig& config, PlannerOptions options,
                                        const Traffic& traffic);

}  // namespace penstock
