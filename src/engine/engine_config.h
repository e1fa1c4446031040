// EngineConfig: what an engine is made with.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "engine/stall_detector.h"
#include "plan/cost_fit.h"
#include "plan/cost_model.h"
#include "sched/scheduler.h"

namespace penstock {

struct EngineConfig {
  SchedulerConfig scheduler;  // num_stages is the executor's, whatever it says here
  int32_t vocab_size = 0;
  std::vector<TokenId> eos_token_ids;  // each ends a sequence
  int32_t max_logprobs = 20;
  uint64_t seed = 0;  // of the seeds drawn for requests that bring none

  int32_t max_num_queued_reqs = 0;    // live requests, waiting or running; 0: no limit
  int64_t max_num_queued_tokens = 0;  // prompt tokens of live requests without a first token; 0: no limit
  HealthRule health;
  // The pipeline's cost model, kept up to date from every step, for planner and scheduler. The prior is the
  // grid of a calibration, else a model, else nothing: then it is learnt from the first steps.
  bool measure_cost = false;
  std::vector<std::vector<CostSample>> cost_grid;  // [num_stages], or empty
  CostModel cost_prior;

  int32_t engine_idx = 0;  // among num_engines replicas: in the log, and in traces
  int32_t num_engines = 1;
  int64_t log_interval_us = 10'000'000;  // between lines of statistics, while there is traffic; 0: none

  EngineLimits Limits() const {
    EngineLimits limits;
    limits.max_model_len = scheduler.max_seq_len();
    limits.vocab_size = vocab_size;
    limits.max_num_seqs = scheduler.max_num_seqs;
    limits.max_logprobs = max_logprobs;
    limits.num_stages = scheduler.num_stages;
    return limits;
  }
};

}  // namespace penstock
