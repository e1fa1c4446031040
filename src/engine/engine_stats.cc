// Histograms have vLLM's names (less the prefix "vllm:") and buckets, so that dashboards made for it work.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_stats.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace penstock {
namespace {

using Bounds = std::vector<double>;

const Bounds kTimeToFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,  0.25,  0.5,   0.75,
                                  1.0,   2.5,   5.0,  7.5,  10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0};
const Bounds kTokenLatency = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                              0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
const Bounds kRequestLatency = {0.3,  0.5,  0.8,  1.0,  1.5,   2.0,   2.5,   5.0,   10.0,   15.0,  20.0,
                                30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
const Bounds kIterationTokens = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
const Bounds kParamsN = {1, 2, 5, 10, 20};
const Bounds kPreemptions = {1, 2, 3, 4, 5, 10, 20};
const Bounds kRatio = {0.25, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 4.0};

constexpr char kChunkTokens[] = "prefill_chunk_tokens";
constexpr char kPredictionRatio[] = "step_time_predicted_to_actual_ratio";

// 16, 32, 64, … from which chunks of at most `max` can be told apart.
Bounds PowersOfTwo(int32_t max) {
  Bounds bounds = {16};
  while (bounds.back() < max) bounds.push_back(2 * bounds.back());
  return bounds;
}

// 1, 2, 5, 10, … up to `max`.
Bounds OneTwoFive(double max) {
  Bounds bounds;
  for (double decade = 1;; decade *= 10) {
    for (double digit : {1.0, 2.0, 5.0}) {
      if (digit * decade > max) return bounds;
      bounds.push_back(digit * decade);
    }
  }
}

double Seconds(int64_t from_us, int64_t to_us) { return static_cast<double>(to_us - from_us) * 1e-6; }

}  // namespace

const char* FinishReasonName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    case FinishReason::kError:
      return "error";
    case FinishReason::kNone:
      break;
  }
  return "none";
}

StatsRecorder::StatsRecorder(const SchedulerConfig& config, int num_stages) {
  const Bounds tokens = OneTwoFive(config.max_model_len);
  const std::pair<const char*, Bounds> histograms[] = {
      {"time_to_first_token_seconds", kTimeToFirstToken},
      {"inter_token_latency_seconds", kTokenLatency},
      {"request_time_per_output_token_seconds", kTokenLatency},
      {"e2e_request_latency_seconds", kRequestLatency},
      {"request_queue_time_seconds", kRequestLatency},
      {"request_inference_time_seconds", kRequestLatency},
      {"request_prefill_time_seconds", kRequestLatency},
      {"request_decode_time_seconds", kRequestLatency},
      {"request_prompt_tokens", tokens},
      {"request_generation_tokens", tokens},
      {"request_max_num_generation_tokens", tokens},
      {"request_params_max_tokens", tokens},
      {"request_prefill_kv_computed_tokens", tokens},
      {"request_params_n", kParamsN},
      {"request_num_preemptions", kPreemptions},
      {"iteration_tokens_total", kIterationTokens},
  };
  for (const auto& [name, bounds] : histograms) stats_.histograms.emplace(name, Histogram(bounds));
  for (FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kAbort, FinishReason::kError}) {
    stats_.finished[FinishReasonName(reason)] = 0;
  }
  stats_.own_histograms.emplace(kChunkTokens, Histogram(PowersOfTwo(config.max_num_batched_tokens)));
  stats_.own_histograms.emplace(kPredictionRatio, Histogram(kRatio));
  stats_.stage_busy_seconds.resize(num_stages);
  stats_.stage_bubble_seconds.resize(num_stages);
  for (auto& by_cause : stats_.stage_bubble_seconds) {
    for (IdleCause cause : kAllIdleCauses) by_cause[std::string(IdleCauseName(cause))] = 0;
  }
}

void StatsRecorder::Observe(const char* name, double value) {
  auto it = stats_.histograms.find(name);
  if (it == stats_.histograms.end()) {
    it = stats_.own_histograms.find(name);
    CHECK(it != stats_.own_histograms.end()) << name;
  }
  it->second.Observe(value);
}

void StatsRecorder::OnStep(const StepResult& result, const StepFacts& step) {
  ++stats_.steps;
  stats_.computed_prompt_tokens += step.num_prompt_tokens;
  Observe("iteration_tokens_total", step.num_tokens);
  for (const ChunkShape& chunk : step.chunks) {
    if (!chunk.is_decode) Observe(kChunkTokens, chunk.len);
  }
  const auto num_stages = static_cast<int32_t>(stats_.stage_busy_seconds.size());
  for (const StageStamp& stamp : result.stamps) {
    if (stamp.stage < 0 || stamp.stage >= num_stages) return;
  }
  for (const StageStamp& stamp : result.stamps) {
    stats_.stage_busy_seconds[stamp.stage] += Seconds(stamp.begin_us, stamp.end_us);
  }
  idle_.OnStep(step.submit_us, result.stamps, &idle_slices_);
  CountIdleSlices();
  if (result.status.ok() && result.skipped.empty()) ObservePrediction(result, step);
}

// On the stage that was predicted to be the slowest: it is what plans are made for.
void StatsRecorder::ObservePrediction(const StepResult& result, const StepFacts& step) {
  const auto slowest = std::max_element(step.predicted_us.begin(), step.predicted_us.end());
  if (slowest == step.predicted_us.end()) return;
  for (const StageStamp& stamp : result.stamps) {
    const auto actual_us = static_cast<double>(stamp.end_us - stamp.begin_us);
    if (stamp.stage == slowest - step.predicted_us.begin() && actual_us > 0) {
      Observe(kPredictionRatio, *slowest / actual_us);
    }
  }
}

void StatsRecorder::OnIdle() {
  idle_.EndPeriod(&idle_slices_);
  CountIdleSlices();
}

void StatsRecorder::CountIdleSlices() {
  for (const IdleSlice& slice : idle_slices_) {
    stats_.stage_bubble_seconds[slice.stage][std::string(IdleCauseName(slice.cause))] +=
        Seconds(slice.begin_us, slice.end_us);
  }
  idle_slices_.clear();
}

void StatsRecorder::OnFirstToken(const RequestTimes& times, int32_t num_prompt_tokens,
                                 int32_t num_cached_tokens) {
  ++stats_.generation_tokens;
  stats_.prompt_tokens += num_prompt_tokens;
  stats_.prompt_tokens_cached += num_cached_tokens;
  Observe("time_to_first_token_seconds", Seconds(times.arrival_us, times.first_token_us));
}

void StatsRecorder::OnNextToken(int64_t since_last_us) {
  ++stats_.generation_tokens;
  Observe("inter_token_latency_seconds", Seconds(0, since_last_us));
}

void StatsRecorder::OnFinish(const FinishedRequest& request) {
  ++stats_.finished[FinishReasonName(request.reason)];
  const RequestTimes& times = request.times;
  Observe("e2e_request_latency_seconds", Seconds(times.arrival_us, times.finish_us));
  Observe("request_prompt_tokens", request.num_prompt_tokens);
  Observe("request_generation_tokens", request.num_output_tokens);
  Observe("request_max_num_generation_tokens", request.num_output_tokens);
  Observe("request_params_max_tokens", request.max_tokens);
  Observe("request_params_n", 1);
  Observe("request_num_preemptions", request.num_preemptions);
  if (times.first_scheduled_us == 0) return;
  Observe("request_queue_time_seconds", Seconds(times.arrival_us, times.first_scheduled_us));
  if (request.num_output_tokens == 0) return;
  Observe("request_prefill_time_seconds", Seconds(times.first_scheduled_us, times.first_token_us));
  Observe("request_decode_time_seconds", Seconds(times.first_token_us, times.last_token_us));
  Observe("request_inference_time_seconds", Seconds(times.first_scheduled_us, times.last_token_us));
  Observe("request_prefill_kv_computed_tokens", request.num_prompt_tokens - request.num_cached_tokens);
  if (request.num_output_tokens == 1) return;
  Observe("request_time_per_output_token_seconds",
          Seconds(times.first_token_us, times.last_token_us) / (request.num_output_tokens - 1));
}

EngineStats StatsRecorder::Snapshot(const SchedulerStats& scheduler, const SchedulerConfig& config) const {
  EngineStats stats = stats_;
  stats.num_running = scheduler.num_running;
  stats.num_waiting = scheduler.num_waiting;
  stats.num_deferred = scheduler.num_deferred;
  stats.kv_cache_usage = static_cast<double>(scheduler.num_held_blocks) / config.num_blocks;
  stats.num_blocks = config.num_blocks;
  stats.block_size = config.block_size;
  stats.waiting_prompt_tokens = scheduler.waiting_prompt_tokens;
  stats.scheduling_policy = SchedulingPolicyName(config.policy);
  stats.steps_in_flight = scheduler.steps_in_flight;
  stats.prefix_cache_queries = scheduler.prefix_cache_queries;
  stats.prefix_cache_hits = scheduler.prefix_cache_hits;
  stats.preemptions = scheduler.preemptions;
  return stats;
}

}  // namespace penstock
