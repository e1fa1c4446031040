// StatsRecorder: keeps EngineStats up to date as things happen. Engine thread.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "engine/engine.h"
#include "engine/request.h"
#include "plan/step.h"
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

// "stop", "length", "abort", "error".
const char* FinishReasonName(FinishReason reason);

class StatsRecorder {
 public:
  StatsRecorder(int32_t max_model_len, int num_stages);

  void OnStep(const StepResult& result, int32_t num_tokens, int32_t num_prompt_tokens);
  // Time since the request's token before this one, or since its arrival for the first.
  void OnFirstToken(const RequestTimes& times, int32_t num_prompt_tokens, int32_t num_cached_tokens);
  void OnNextToken(int64_t since_last_us);
  void OnFinish(const FinishedRequest& request);

  // With the scheduler's gauges and counters.
  EngineStats Snapshot(const SchedulerStats& scheduler, const SchedulerConfig& config) const;

 private:
  void Observe(const char* name, double value);

  EngineStats stats_;
};

}  // namespace penstock
