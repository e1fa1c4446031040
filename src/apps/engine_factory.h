// From an EnginePlan to a running engine: loads, calibrates, and wires tokenizer, pipeline, planner and
// engine.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "apps/engine_plan.h"
#include "apps/pipeline_cost.h"
#include "apps/run_config.h"
#include "apps/stall_watch.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/token_text.h"
#include "kernels/profile/op_profile.h"
#include "pipeline/pipeline.h"
#include "plan/executor.h"
#include "plan/make_chunk_planner.h"
#include "text/tokenizer.h"

namespace penstock {

// What an engine stands on. Destroyed from the pipeline down.
struct LoadedModel {
  EnginePlan plan;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<TokenTextFactory> texts;
  std::vector<std::unique_ptr<OpProfile>> profiles;       // [num_stages] where run.profile_ops, else empty
  std::unique_ptr<Executor> pipeline;                     // of replica 0
  std::vector<std::unique_ptr<Executor>> more_pipelines;  // of the others
  std::vector<const Pipeline*> replicas;                  // what is behind these
  // Of each replica, what it had counted when it began to serve: by steps that measured it.
  std::vector<RankCounters> measured;
};

// Loads the weights, with a bar and vLLM's lines in the log.
Result<LoadedModel> LoadModelForEngine(const RunConfig& run, EnginePlan plan);

// An engine over `executor`: the pipeline of a replica, or what stands before it. `cost`: what is known of
// it.
Result<std::unique_ptr<Engine>> MakeEngineOver(const RunConfig& run, const LoadedModel& model,
                                               Executor& executor, ChunkPolicy policy,
                                               const PipelineCost& cost, int32_t replica = 0);

// An engine and all that it stands on. Destroyed from the engine down.
struct RunningEngine : LoadedModel {
  PipelineCost cost;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<StallWatch> stall_watch;  // of a job, which a stall ends as the loss of a rank does
};

// All of it, with run.chunk_policies' first: loads, calibrates where that is wanted, starts. Replicas are
// behind one engine; they are equal, so one is calibrated for all, and each goes on measuring for itself.
Result<RunningEngine> StartEngine(const RunConfig& run, EnginePlan plan);

}  // namespace penstock
