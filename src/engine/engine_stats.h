// StatsRecorder: keeps EngineStats up to date as things happen. Engine thread.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "engine/idle_slices.h"
#include "engine/request.h"
#include "plan/step.h"
#include "plan/step_work.h"
#include "sched/scheduler.h"

namespace penstock {

// What is known of a request when it has ended.
struct FinishedRequest {
  FinishReason reason = FinishReason::kNone;
  RequestTimes times;
  int32_t num_prompt_tokens = 0;
  int32_t num_cached_tokens = 0;
  int32_t num_output_tokens = 0;
  int32_t num_preemptions = 0;
  int32_t max_tokens = 0;
};

// What is known of a step when it comes back.
struct StepFacts {
  int64_t submit_us = 0;
  int32_t num_tokens = 0;
  int32_t num_prompt_tokens = 0;
  std::vector<ChunkShape> chunks;
  std::vector<double> predicted_us;  // [num_stages], at submission; empty: no model of the cost was known
};

// "stop", "length", "abort", "error".
const char* FinishReasonName(FinishReason reason);

class StatsRecorder {
 public:
  StatsRecorder(const SchedulerConfig& config, int num_stages);

  void OnStep(const StepResult& result, const StepFacts& step);
  // Nothing is live nor in flight any more.
  void OnIdle();
  // Time since the request's token before this one, or since its arrival for the first.
  void OnFirstToken(const RequestTimes& times, int32_t num_prompt_tokens, int32_t num_cached_tokens);
  void OnNextToken(int64_t since_last_us);
  void OnFinish(const FinishedRequest& request);

  // With the scheduler's gauges and counters.
  EngineStats Snapshot(const SchedulerStats& scheduler, const SchedulerConfig& config) const;

 private:
  void Observe(const char* name, double value);
  void ObservePrediction(const StepResult& result, const StepFacts& step);
  void CountIdleSlices();

  EngineStats stats_;
  IdleFinder idle_;
  std::vector<IdleSlice> idle_slices_;  // not yet counted
};

}  // namespace penstock
