// EngineCore: the loop of the engine without its thread: admit, schedule, submit, poll, update, emit.
//
// It owns the scheduler's state. Deterministic: time is given, and nothing is done between calls.
//
//   Admit ─▶ Scheduler ─ Step ─▶ Executor ─ StepResult ─▶ Scheduler ─ token ─▶ stop? text ─▶ sink
//
// Single-threaded, but for CheckRequest().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "base/status.h"
#include "engine/engine_config.h"
#include "engine/engine_stats.h"
#include "engine/request.h"
#include "engine/stall_detector.h"
#include "engine/step_trace.h"
#include "engine/submit_pacer.h"
#include "engine/token_text.h"
#include "plan/chunk_planner.h"
#include "plan/cost_estimator.h"
#include "plan/executor.h"
#include "sched/scheduler.h"

namespace penstock {

class EngineCore {
 public:
  // `executor` and `texts` outlive it. `planner` null: static chunks.
  EngineCore(const EngineConfig& config, Executor& executor, TokenTextFactory& texts,
             std::unique_ptr<ChunkPlanner> planner = nullptr);

  // kInvalidArgument for a request that can never run. Thread-safe.
  Status CheckRequest(const Request& request) const;

  // REQUIRES: CheckRequest() is OK and no live request has the same id. `arrival_us` is when the client's
  // request came.
  void Admit(Request request, OutputSink sink, int64_t arrival_us);

  // The sink gets kAbort now; the blocks are free once the steps in flight are back. Unknown ids are ignored.
  void Abort(const std::string& request_id, int64_t now_us);
  void AbortAll(int64_t now_us);

  // Takes all results that are there, then submits all steps that can be and are due. Returns whether there
  // were any of either.
  bool Tick(int64_t now_us);
  // When Tick() is to be called again even if nothing happens until then; SubmitPacer::kNever: need not be.
  int64_t NextWakeUs() const { return next_wake_us_; }

  bool idle() const { return requests_.empty(); }  // no live request; steps may be in flight
  int32_t steps_in_flight() const { return scheduler_.steps_in_flight(); }
  EngineStats Stats() const;
  // Brings `load` up to date, but for num_admitted.
  void UpdateLoad(EngineLoad* load) const;
  const StallDetector& stall_detector() const { return stall_; }
  // Not OK once the executor has gone (a step came back with kUnavailable): all requests end with this error.
  const Status& failure() const { return failure_; }
  // Steps that failed one after the other, up to now.
  int32_t consecutive_failures() const { return consecutive_failures_; }
  void ResetPrefixCache() { scheduler_.ResetPrefixCache(); }

  // What is known of the pipeline's speed, from now on: for the planner and the order of service.
  // With EngineConfig::measure_cost the engine does that itself. REQUIRES: one stage for each of the
  // executor's.
  void SetCost(const CostModel& cost);

  void StartTrace() { trace_.emplace(); }
  std::optional<StepTrace> StopTrace();
  const EngineConfig& config() const { return config_; }

 private:
  struct LiveRequest {
    std::string id;
    SeqId seq = 0;
    SamplingParams sampling;
    OutputSink sink;
    std::unique_ptr<TokenText> text;  // null: neither text nor stop strings are wanted
    bool detokenize = true;
    int32_t num_prompt_tokens = 0;
    int32_t num_cached_tokens = 0;
    int32_t num_output_tokens = 0;
    int32_t num_preemptions = 0;
    RequestTimes times;
    std::vector<PositionLogprobs> prompt_logprobs;  // until the first token
    std::vector<int32_t> chunk_lens;                // of the prompt, as submitted
    bool report_progress = false;                   // until the first token
    int32_t num_reported = -1;                      // the latest PromptProgress::num_done; -1: none yet
  };
  struct StepInFlight : StepFacts {
    std::vector<SeqId> seqs;  // of the chunks
  };

  void TakeResult(StepResult result, int64_t now_us);
  void Measure(const StepInFlight& step, const StepResult& result);
  void PublishCost();
  bool SubmitSteps(int64_t now_us);
  void ReportProgress(const StepInFlight& step, int64_t now_us);
  void ReportProgress(LiveRequest& request, int32_t num_done, int64_t now_us);
  StepInFlight& Describe(const Step& step, int64_t now_us);
  void OnUpdate(SequenceUpdate update, int64_t now_us);
  void OnPromptLogprobs(LiveRequest& request, PromptLogprobs part);
  void OnToken(LiveRequest& request, SampledToken token, int64_t now_us);
  void RecordToken(LiveRequest& request, int64_t now_us);
  void AskScheduler(LiveRequest& request) const;
  void AddText(LiveRequest& request, TokenId id, RequestOutput& output);
  // Sets finish_reason and stop_reason of `output`, as far as tokens and lengths decide.
  void DecideFinish(const LiveRequest& request, TokenId id, RequestOutput& output) const;
  // Ends the request without a further token.
  void EndRequest(SeqId seq, FinishReason reason, Status error, int64_t now_us);
  void EndAll(FinishReason reason, const Status& error, int64_t now_us);
  // Fills in what every output has, and hands it to the sink; after the last one the request is gone.
  void Emit(LiveRequest& request, RequestOutput output, int64_t now_us);

  const EngineConfig config_;
  Executor& executor_;
  TokenTextFactory& texts_;
  const std::unique_ptr<ChunkPlanner> planner_;
  Scheduler scheduler_;
  StatsRecorder stats_;
  StallDetector stall_;
  std::optional<StepTrace> trace_;
  std::mt19937_64 seeds_;
  std::unordered_map<SeqId, LiveRequest> requests_;
  std::unordered_map<std::string, SeqId> seq_by_id_;
  std::deque<StepInFlight> in_flight_;
  std::optional<CostEstimator> estimator_;
  int64_t published_version_ = 0;            // of the estimator's models: the one that the planner has
  int32_t steps_unpublished_ = 0;            // since there is a newer one
  std::unordered_set<SeqId> begun_prompts_;  // some chunks, but not the last one, are scheduled
  CostModel cost_;
  SubmitPacer pacer_;
  int64_t next_wake_us_ = SubmitPacer::kNever;
  bool in_busy_period_ = false;  // from a first step until nothing is live nor in flight
  SeqId next_seq_ = 1;
  Status failure_;
  int32_t consecutive_failures_ = 0;
  double prefill_us_ = 0;  // both decay: their ratio is the time per prompt token of late
  double prefill_tokens_ = 0;
};

}  // namespace penstock
