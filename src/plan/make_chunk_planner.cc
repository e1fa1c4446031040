// SPDX-License-Identifier: Apache-2.0
#include "plan/make_chunk_planner.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "plan/equal_latency.h"
#include "plan/optimal_planner.h"
#include "plan/sglang_planner.h"

namespace penstock {
namespace {

constexpr std::string_view kAll = "all";

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::string Names() {
  std::string names;
  for (ChunkPolicy policy : kAllChunkPolicies) {
    if (!names.empty()) names += ", ";
    names += ChunkPolicyName(policy);
  }
  return names;
}

}  // namespace

std::string_view ChunkPolicyName(ChunkPolicy policy) {
  switch (policy) {
    case ChunkPolicy::kStatic:
      return "static";
    case ChunkPolicy::kEqualLatency:
      return "equal-latency";
    case ChunkPolicy::kSglang:
      return "sglang";
    case ChunkPolicy::kOptimal:
      return "optimal";
  }
  return "?";
}

Result<ChunkPolicy> ParseChunkPolicy(std::string_view name) {
  for (ChunkPolicy policy : kAllChunkPolicies) {
    if (name == ChunkPolicyName(policy)) return policy;
  }
  return InvalidArgument("chunk policy \"{}\": expected one of {}", name, Names());
}

Result<std::vector<ChunkPolicy>> ParseChunkPolicies(std::string_view names) {
  if (Trimmed(names) == kAll) return std::vector(std::begin(kAllChunkPolicies), std::end(kAllChunkPolicies));
  std::vector<ChunkPolicy> policies;
  while (true) {
    const size_t comma = names.find(',');
    ASSIGN_OR_RETURN(const ChunkPolicy policy, ParseChunkPolicy(Trimmed(names.substr(0, comma))));
    if (std::find(policies.begin(), policies.end(), policy) == policies.end()) policies.push_back(policy);
    if (comma == std::string_view::npos) return policies;
    names.remove_prefix(comma + 1);
  }
}

Status ValidatePlannerOptions(const PlannerOptions& options) {
  // Far above all use, and low enough for sums of them.
  constexpr int32_t kMostTokens = 1 << 24, kMostModelLen = 1 << 30;
  const auto in_range = [](std::string_view name, int32_t value, int32_t most) {
    return value >= 1 && value <= most
               ? OkStatus()
               : InvalidArgument("chunk planner: {} is {}, expected in [1, {}]", name, value, most);
  };
  const auto is_time = [](std::string_view name, double value) {
    return std::isfinite(value) && value >= 0
               ? OkStatus()
               : InvalidArgument("chunk planner: {} is {}, expected >= 0", name, value);
  };
  RETURN_IF_ERROR(in_range("max_tokens", options.max_tokens, kMostTokens));
  RETURN_IF_ERROR(in_range("block_size", options.block_size, kMostTokens));
  RETURN_IF_ERROR(in_range("tile", options.tile, kMostTokens));
  RETURN_IF_ERROR(in_range("max_model_len", options.max_model_len, kMostModelLen));
  RETURN_IF_ERROR(is_time("max_step_us", options.max_step_us));
  RETURN_IF_ERROR(is_time("fixed_target_us", options.fixed_target_us));
  if (options.smooth_factor && !(*options.smooth_factor > 0 && *options.smooth_factor <= 1)) {
    return InvalidArgument("chunk planner: smooth_factor is {}, expected in (0, 1]", *options.smooth_factor);
  }
  if (options.min_chunk && (*options.min_chunk < 1 || *options.min_chunk > options.max_tokens)) {
    return InvalidArgument("chunk planner: min_chunk is {}, expected in [1, {}]", *options.min_chunk,
                           options.max_tokens);
  }
  if (options.max_fit_chunk <= 5) {
    return InvalidArgument("chunk planner: max_fit_chunk is {}, expected > 5", options.max_fit_chunk);
  }
  return OkStatus();
}

std::unique_ptr<ChunkPlanner> MakeChunkPlanner(const PlannerOptions& options) {
  const Status valid = ValidatePlannerOptions(options);
  CHECK(valid.ok()) << valid.message();
  switch (options.policy) {
    case ChunkPolicy::kStatic:
      return std::make_unique<StaticChunkPlanner>();
    case ChunkPolicy::kEqualLatency:
      return std::make_unique<EqualLatencyPlanner>(options);
    case ChunkPolicy::kSglang:
      return std::make_unique<SglangPlanner>(options);
    case ChunkPolicy::kOptimal:
      return std::make_unique<OptimalPlanner>(options);
  }
  CHECK(false) << "no such policy";
  return nullptr;
}

}  // namespace penstock
