// Engine: what a front end (server/, `penstock complete`, `penstock bench`) talks to.
//
// Thread-safe: every method may be called from any thread; outputs come on the engine's own thread.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/request.h"
#include "plan/cost_fit.h"
#include "plan/cost_model.h"

namespace penstock {

// A cumulative histogram, as Prometheus has it.
struct Histogram {
  std::vector<double> bounds;    // upper bounds, ascending, without +Inf
  std::vector<uint64_t> counts;  // [bounds.size() + 1], not cumulative; the last is above all bounds
  double sum = 0;
  uint64_t count = 0;

  explicit Histogram(std::vector<double> bounds = {})
      : bounds(std::move(bounds)), counts(this->bounds.size() + 1) {}
  void Observe(double value) {
    size_t i = 0;
    while (i < bounds.size() && value > bounds[i]) ++i;
    ++counts[i];
    sum += value;
    ++count;
  }
};

// Everything that /metrics, /load and the log line print; a consistent copy of the engine thread's own
// counters. Histograms are in seconds or tokens, with vLLM's names and buckets (engine/engine_stats.cc).
struct EngineStats {
  // gauges
  int32_t num_running = 0;
  int32_t num_waiting = 0;
  int32_t num_deferred = 0;   // of these: wait for a running request to compute the prompt they share
  double kv_cache_usage = 0;  // share of blocks that hold live sequences, 0..1
  int32_t num_blocks = 0;
  int32_t block_size = 0;
  int64_t waiting_prompt_tokens = 0;  // prompt tokens not yet computed, of waiting and running requests
  // Predicted time for those on the slowest stage; nothing while no model of the cost is known.
  std::optional<double> prefill_backlog_seconds;
  int32_t steps_in_flight = 0;
  int64_t last_progress_us = 0;     // when a step last came back, or work last appeared on an idle engine
  double prefill_us_per_token = 0;  // of late, with the pipeline busy; 0: not known. Times
                                    // waiting_prompt_tokens: how long a new request may have to wait
  CostModel cost;                   // that prompts are planned with; empty: not known
  std::string scheduling_policy;    // "srpt"
  std::string chunk_policy;         // "static"
  // The same as the engine has measured it, without what the host adds; empty where it does not measure.
  CostModel measured_cost;
  int64_t cost_version = 0;  // rises with every new model
  FitQuality cost_error;     // of its predictions of late
  double hop_gap_us = 0;     // what a hop costs besides, mean over the stages
  // counters
  uint64_t prompt_tokens = 0;  // prompt tokens of requests whose prefill ended, cached ones included
  uint64_t prompt_tokens_cached = 0;
  uint64_t generation_tokens = 0;
  uint64_t computed_prompt_tokens = 0;  // prompt tokens whose steps have come back, recomputed ones included
  uint64_t prefix_cache_queries = 0;    // tokens looked up
  uint64_t prefix_cache_hits = 0;       // tokens found
  uint64_t preemptions = 0;
  uint64_t steps = 0;
  std::map<std::string, uint64_t> finished;              // by "stop", "length", "abort", "error"
  std::map<std::string, uint64_t> admission_rejections;  // by reason
  std::vector<double> stage_busy_seconds;                // [num_stages]
  // [num_stages], by the names of engine/idle_slices.h; of busy periods that have ended, and of the present
  // one as far as the steps that have come back tell
  std::vector<std::map<std::string, double>> stage_bubble_seconds;
  // histograms, by vLLM's name without the prefix ("time_to_first_token_seconds"), and those that only this
  // engine has
  std::map<std::string, Histogram> histograms;
  std::map<std::string, Histogram> own_histograms;
};

// The limits that a front end checks a request against before it is admitted.
struct EngineLimits {
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
  int32_t max_num_seqs = 0;
  int32_t max_logprobs = 20;
  int32_t num_stages = 1;
};

// What a router over several engines asks for every request: so it must be cheap, and never waits for the
// engine's thread.
struct EngineLoad {
  std::optional<double> backlog_us;       // as EngineStats::prefill_backlog_seconds
  int64_t waiting_prompt_tokens = 0;      // as there
  double prefill_us_per_token = 0;        // as there
  std::shared_ptr<const CostModel> cost;  // as EngineStats::cost; null: not known
  // How many of the requests that Submit() has taken are in these numbers, or were and have ended.
  uint64_t num_admitted = std::numeric_limits<uint64_t>::max();
};

inline EngineLoad LoadOf(const EngineStats& stats) {
  EngineLoad load;
  if (stats.prefill_backlog_seconds) load.backlog_us = *stats.prefill_backlog_seconds * 1e6;
  load.waiting_prompt_tokens = stats.waiting_prompt_tokens;
  load.prefill_us_per_token = stats.prefill_us_per_token;
  if (stats.cost.known()) load.cost = std::make_shared<const CostModel>(stats.cost);
  return load;
}

class Engine {
 public:
  virtual ~Engine() = default;

  virtual const EngineLimits& limits() const = 0;

  // Takes the request, or says why not: kInvalidArgument for what can never run (prompt too long …),
  // kResourceExhausted where queue limits are reached, kUnavailable while draining or when the engine has
  // failed. The sink is called only if the status is OK.
  virtual Status Submit(Request request, OutputSink sink) = 0;

  // Ends the request at the next chunk boundary of every stage; its sink gets kAbort. Unknown ids are
  // ignored.
  virtual void Abort(const std::string& request_id) = 0;

  virtual EngineStats Stats() const = 0;
  // One for each replica (engine/replica_engine.h), in their order.
  virtual std::vector<EngineStats> ReplicaStats() const { return {Stats()}; }
  // Of the latest tick. For an engine with one scheduler.
  virtual EngineLoad Load() const { return LoadOf(Stats()); }

  // OK while the engine can make progress; kUnavailable with the reason when it is draining, dead, or has
  // made none for too long while steps are in flight.
  virtual Status Health() const = 0;
  // The last of these alone, which no waiting mends: kUnavailable with what is known. Also while it drains.
  virtual Status Stall() const { return OkStatus(); }

  // Drops all cached prefix blocks that no live sequence uses.
  virtual void ResetPrefixCache() = 0;

  // Records every step from now on, dropping a record that was begun before. StopTrace ends that and gives
  // the record as JSON that Perfetto and chrome://tracing show (engine/step_trace.h); empty: there was none.
  virtual void StartTrace() {}
  virtual std::string StopTrace() { return ""; }

  // Refuses new requests, and returns when the live ones have ended or `timeout_us` have passed; then aborts
  // the rest.
  virtual void Drain(int64_t timeout_us) = 0;
};

}  // namespace penstock
