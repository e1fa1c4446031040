// SPDX-License-Identifier: Apache-2.0
#include "engine/merge_stats.h"

#include <algorithm>

#include "base/check.h"

namespace penstock {
namespace {

// Replicas are made from one configuration, so bounds are equal.
void Add(const Histogram& from, Histogram* to) {
  CHECK(from.bounds == to->bounds);
  for (size_t i = 0; i < from.counts.size(); ++i) to->counts[i] += from.counts[i];
  to->sum += from.sum;
  to->count += from.count;
}

void Add(const std::map<std::string, Histogram>& from, std::map<std::string, Histogram>* to) {
  for (const auto& [name, histogram] : from) {
    const auto [it, is_new] = to->emplace(name, histogram);
    if (!is_new) Add(histogram, &it->second);
  }
}

template <typename Value>
void Add(const std::map<std::string, Value>& from, std::map<std::string, Value>* to) {
  for (const auto& [name, value] : from) (*to)[name] += value;
}

void AddStages(const EngineStats& from, EngineStats* to) {
  to->stage_busy_seconds.resize(std::max(to->stage_busy_seconds.size(), from.stage_busy_seconds.size()));
  for (size_t i = 0; i < from.stage_busy_seconds.size(); ++i) {
    to->stage_busy_seconds[i] += from.stage_busy_seconds[i];
  }
  to->stage_bubble_seconds.resize(
      std::max(to->stage_bubble_seconds.size(), from.stage_bubble_seconds.size()));
  for (size_t i = 0; i < from.stage_bubble_seconds.size(); ++i) {
    Add(from.stage_bubble_seconds[i], &to->stage_bubble_seconds[i]);
  }
}

void AddGauges(const EngineStats& from, EngineStats* to) {
  to->num_running += from.num_running;
  to->num_waiting += from.num_waiting;
  to->num_deferred += from.num_deferred;
  to->num_blocks += from.num_blocks;
  to->waiting_prompt_tokens += from.waiting_prompt_tokens;
  to->steps_in_flight += from.steps_in_flight;
  to->last_progress_us = std::max(to->last_progress_us, from.last_progress_us);
}

void AddCounters(const EngineStats& from, EngineStats* to) {
  to->prompt_tokens += from.prompt_tokens;
  to->prompt_tokens_cached += from.prompt_tokens_cached;
  to->generation_tokens += from.generation_tokens;
  to->computed_prompt_tokens += from.computed_prompt_tokens;
  to->prefix_cache_queries += from.prefix_cache_queries;
  to->prefix_cache_hits += from.prefix_cache_hits;
  to->preemptions += from.preemptions;
  to->steps += from.steps;
  Add(from.finished, &to->finished);
  Add(from.admission_rejections, &to->admission_rejections);
  Add(from.histograms, &to->histograms);
  Add(from.own_histograms, &to->own_histograms);
}

void TakeOwn(const EngineStats& from, EngineStats* to) {
  to->block_size = from.block_size;
  to->cost = from.cost;
  to->scheduling_policy = from.scheduling_policy;
  to->chunk_policy = from.chunk_policy;
  to->measured_cost = from.measured_cost;
  to->cost_version = from.cost_version;
  to->cost_error = from.cost_error;
  to->hop_gap_us = from.hop_gap_us;
}

}  // namespace

EngineStats MergeStats(std::span<const EngineStats> replicas) {
  CHECK(!replicas.empty());
  EngineStats merged;
  double tokens_per_us = 0;
  for (const EngineStats& stats : replicas) {
    AddGauges(stats, &merged);
    AddCounters(stats, &merged);
    AddStages(stats, &merged);
    merged.kv_cache_usage += stats.kv_cache_usage / static_cast<double>(replicas.size());
    if (stats.prefill_us_per_token > 0) tokens_per_us += 1 / stats.prefill_us_per_token;
    if (!stats.prefill_backlog_seconds) continue;
    merged.prefill_backlog_seconds =
        std::min(merged.prefill_backlog_seconds.value_or(*stats.prefill_backlog_seconds),
                 *stats.prefill_backlog_seconds);
  }
  if (tokens_per_us > 0) merged.prefill_us_per_token = 1 / tokens_per_us;
  TakeOwn(*std::max_element(replicas.begin(), replicas.end(),
                            [](const auto& a, const auto& b) { return a.steps < b.steps; }),
          &merged);
  return merged;
}

}  // namespace penstock
