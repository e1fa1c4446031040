// SPDX-License-Identifier: Apache-2.0
#include "apps/planner_setup.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "plan/policy_replay.h"
#include "sim/plan_table.h"

namespace penstock {
namespace {

// As vLLM-Ascend does by default; of a step that is smaller, all of it.
constexpr int32_t kDefaultMinChunk = 4096;
// vLLM-Ascend's recipe, so that its policy has learnt what it can.
constexpr int kWarmUpPrompts = 5;

double TimeToFirstTokenUs(const PlannerOptions& options, const CostModel& cost, int32_t len) {
  return ReplayPolicy(*MakeChunkPlanner(options), cost, 0, len, options.max_tokens).makespan_us;
}

}  // namespace

PlannerOptions MakePlannerOptions(const RunConfig& run, const EnginePlan& plan, ChunkPolicy policy) {
  PlannerOptions options;
  options.policy = policy;
  options.max_tokens = plan.options.max_batched_tokens;
  options.block_size = plan.options.block_size;
  options.max_model_len = plan.options.max_model_len;
  options.max_step_us = run.max_step_us;
  options.release_behaviour = run.equal_latency_release;
  const bool is_ascend = policy == ChunkPolicy::kEqualLatency;
  if (is_ascend) options.min_chunk = std::min(kDefaultMinChunk, options.max_tokens);
  if (!run.profiling_chunk || !run.profiling_chunk->enabled) return options;
  const ProfilingChunkConfig& config = *run.profiling_chunk;
  if (config.smooth_factor_given || is_ascend) options.smooth_factor = config.smooth_factor;
  if (config.min_chunk_given || is_ascend) {
    options.min_chunk = static_cast<int32_t>(std::min<int64_t>(config.min_chunk, options.max_tokens));
  }
  options.need_timing = config.need_timing;
  options.max_fit_chunk = static_cast<int32_t>(std::min<int64_t>(config.max_fit_chunk, INT32_MAX));
  return options;
}

std::string ConstraintsLine(const PlannerOptions& options, const CostModel& cost, int32_t len) {
  const bool has_own = options.policy == ChunkPolicy::kStatic || options.policy == ChunkPolicy::kEqualLatency;
  if (has_own || (!options.smooth_factor && !options.min_chunk)) return "";
  PlannerOptions free = options;
  free.smooth_factor.reset();
  free.min_chunk.reset();
  const double with_us = TimeToFirstTokenUs(options, cost, len);
  const double without_us = TimeToFirstTokenUs(free, cost, len);
  std::string given;
  if (options.smooth_factor) given = fmt::format("smooth_factor {}", *options.smooth_factor);
  if (options.min_chunk)
    given += fmt::format("{}min_chunk {}", given.empty() ? "" : ", ", *options.min_chunk);
  return fmt::format(
      "profiling_chunk_config ({}): predicted time to first token for {} tokens {:.3f} s, without it {:.3f} "
      "s "
      "({:+.1f} %)",
      given, len, with_us * 1e-6, without_us * 1e-6, 100 * (with_us / without_us - 1));
}

void LogPlanTable(const RunConfig& run, const EnginePlan& plan, const CostModel& cost) {
  if (!cost.known()) return;
  const int32_t longest = plan.options.max_model_len;
  std::vector<int32_t> lengths;
  for (int32_t len : {8192, 32768, 131072}) {
    if (len < longest) lengths.push_back(len);
  }
  lengths.push_back(longest);
  const Result<PlanTable> table = MakePlanTable(cost, MakePlannerOptions(run, plan, run.chunk_policies[0]),
                                                kAllChunkPolicies, lengths, kWarmUpPrompts);
  if (!table.ok()) return LogWarning("no table of plans: {}", table.status().message());
  LogInfo("Chunks of each policy for a prompt that is alone, as predicted (--chunk-policy {}):\n{}",
          ChunkPolicyName(run.chunk_policies[0]), PlanTableText(*table));
}

bool NeedsCost(const RunConfig& run) {
  const bool any = std::ranges::any_of(run.chunk_policies,
                                       [](ChunkPolicy policy) { return policy != ChunkPolicy::kStatic; });
  return any && (run.layout.pp > 1 || run.max_step_us > 0);
}

}  // namespace penstock
