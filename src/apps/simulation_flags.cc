// SPDX-License-Identifier: Apache-2.0
#include "apps/simulation_flags.h"

#include <algorithm>

#include "apps/flag_value.h"
#include "base/json.h"
#include "base/log.h"
#include "sim/cost_spec.h"

namespace penstock {
namespace {

constexpr int64_t kMostTokens = 1 << 26;
constexpr double kMostShare = 1e6;  // times the least
constexpr int kWarmUpRequests = 5;
constexpr int32_t kWorkloadRequests = 100;

std::vector<std::string_view> SplitAtCommas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

Result<CostModel> ReadCost(const ParsedFlags& flags) {
  if (!flags.Given("cost")) {
    return InvalidArgument(
        "--cost: got none, expected a cost model, for example deepseek-v3.1 or @FILE with a saved fit");
  }
  Result<CostSpec> spec = ParseCostSpec(flags.String("cost"));
  if (!spec.ok()) return spec.status().WithContext("--cost");
  std::vector<double> shares;
  if (flags.Given("stage-shares")) {
    ASSIGN_OR_RETURN(shares, ParseShares(flags.String("stage-shares")));
  }
  std::optional<int> num_stages;
  if (flags.Given("pipeline-parallel-size"))
    num_stages = static_cast<int>(flags.Int("pipeline-parallel-size"));
  return ResolveCost(*spec, num_stages, shares);
}

int32_t Int32(const ParsedFlags& flags, std::string_view name) {
  return static_cast<int32_t>(flags.Int(name));
}

Status ReadPlanner(const ParsedFlags& flags, int32_t max_tokens, PlannerOptions* planner) {
  if (flags.Given("smooth-factor")) {
    planner->smooth_factor = flags.Float("smooth-factor");
    if (*planner->smooth_factor <= 0)
      return InvalidArgument("--smooth-factor: got {}, expected more than 0, at most 1",
                             *planner->smooth_factor);
  }
  if (flags.Given("min-chunk")) {
    planner->min_chunk = Int32(flags, "min-chunk");
    if (*planner->min_chunk > max_tokens) {
      LogWarning("--min-chunk {} is lowered to --max-num-batched-tokens {}", *planner->min_chunk, max_tokens);
      planner->min_chunk = max_tokens;
    }
  }
  if (flags.Known("fixed-target-ms") && flags.Given("fixed-target-ms"))
    planner->fixed_target_us = flags.Float("fixed-target-ms") * 1000;
  return OkStatus();
}

Status CheckLengthFlags(const ParsedFlags& flags) {
  constexpr std::string_view kOfDistribution[] = {"prompt-len-std", "prompt-len-min", "prompt-len-max"};
  if (flags.Given("prompt-len-mean") && flags.Given("prompt-len"))
    return InvalidArgument("got --prompt-len and --prompt-len-mean, expected one of them");
  for (std::string_view name : kOfDistribution) {
    if (flags.Given(name) && !flags.Given("prompt-len-mean"))
      return InvalidArgument("--{}: expected --prompt-len-mean beside it", name);
  }
  return OkStatus();
}

Result<Traffic> ReadTrace(const ParsedFlags& flags) {
  for (std::string_view name :
       {"prompt-len", "prompt-len-mean", "output-len", "prefix-hit-share", "num-requests", "request-rate"}) {
    if (flags.Given(name))
      return InvalidArgument("got --trace-in and --{}, expected one of them: the file has the requests",
                             name);
  }
  const std::string path = flags.String("trace-in");
  Result<std::string> text = ReadTextFile(path);
  if (!text.ok()) return text.status().WithContext("--trace-in");
  Result<Traffic> traffic = ParseTraffic(*text, path);
  if (!traffic.ok()) return traffic.status().WithContext("--trace-in");
  return traffic;
}

}  // namespace

Result<std::vector<double>> ParseShares(std::string_view text) {
  std::vector<double> shares;
  for (std::string_view part : SplitAtCommas(text)) {
    const Result<double> share = ParseFloat(part);
    if (!share.ok() || !(*share > 0 && *share <= kMostShare)) {
      return InvalidArgument(
          "--stage-shares: got \"{}\", expected numbers above 0, one for each stage: 1,1,1.25", text);
    }
    shares.push_back(*share);
  }
  return shares;
}

Result<std::vector<int32_t>> ParseLengths(std::string_view text) {
  std::vector<int32_t> lengths;
  for (std::string_view part : SplitAtCommas(text)) {
    const Result<int64_t> length = ParseSize(part);
    if (!length.ok() || *length < 1 || *length > kMostTokens) {
      return InvalidArgument("--prompt-len: got \"{}\", expected lengths of 1 to {} tokens: 8192,32K", text,
                             kMostTokens);
    }
    lengths.push_back(static_cast<int32_t>(*length));
  }
  return lengths;
}

Result<SimulationSetup> ResolveSimulation(const ParsedFlags& flags) {
  SimulationSetup setup;
  SimulationConfig& config = setup.config;
  const bool by_layout = flags.Known("layouts") && flags.Given("layouts");
  if (!by_layout) {
    ASSIGN_OR_RETURN(config.cost, ReadCost(flags));
  }
  config.max_num_batched_tokens = Int32(flags, "max-num-batched-tokens");
  config.block_size = Int32(flags, "block-size");
  config.num_warm_up = flags.Bool("warm-up") ? kWarmUpRequests : 0;
  if (flags.Known("noise")) {
    config.noise = flags.Float("noise");
    config.seed = static_cast<uint64_t>(flags.Int("seed"));
    config.max_num_seqs = Int32(flags, "max-num-seqs");
    ASSIGN_OR_RETURN(config.scheduling, ParseSchedulingPolicy(flags.String("scheduling-policy")));
  }
  RETURN_IF_ERROR(ReadPlanner(flags, config.max_num_batched_tokens, &setup.planner));
  Result<std::vector<ChunkPolicy>> policies = ParseChunkPolicies(flags.String("chunk-policy"));
  if (!policies.ok()) return policies.status().WithContext("--chunk-policy");
  setup.policies = *std::move(policies);
  return setup;
}

Result<Traffic> ResolveTraffic(const ParsedFlags& flags) {
  const int32_t num_clients = flags.Given("num-clients") ? Int32(flags, "num-clients") : 0;
  if (flags.Given("trace-in")) {
    ASSIGN_OR_RETURN(Traffic traffic, ReadTrace(flags));
    traffic.num_clients = num_clients;
    traffic.client_us = flags.Float("client-ms") * 1000;
    traffic.client_token_us = flags.Float("client-us-per-token");
    return traffic;
  }
  for (std::string_view name : {"client-ms", "client-us-per-token"}) {
    if (flags.Given(name) && num_clients == 0)
      return InvalidArgument("--{}: expected --num-clients beside it", name);
  }
  RETURN_IF_ERROR(CheckLengthFlags(flags));
  if (flags.Given("request-rate") && flags.Given("num-clients"))
    return InvalidArgument("got --request-rate and --num-clients, expected one of them");
  const bool draws = flags.Given("prompt-len-mean");
  Workload workload;
  workload.prompt_len.mean = static_cast<double>(flags.Int(draws ? "prompt-len-mean" : "prompt-len"));
  workload.prompt_len.std = static_cast<double>(flags.Int("prompt-len-std"));
  workload.prompt_len.min = Int32(flags, "prompt-len-min");
  workload.prompt_len.max =
      flags.Given("prompt-len-max") ? Int32(flags, "prompt-len-max") : static_cast<int32_t>(kMostTokens);
  const bool is_workload = draws || flags.Given("request-rate") || num_clients > 0;
  workload.num_requests = flags.Given("num-requests") ? Int32(flags, "num-requests")
                          : is_workload               ? kWorkloadRequests
                                                      : 1;
  workload.output_len = Int32(flags, "output-len");
  workload.prefix_hit_share = flags.Float("prefix-hit-share");
  if (flags.Given("request-rate")) workload.request_rate = flags.Float("request-rate");
  workload.num_clients = num_clients;
  workload.client_us = flags.Float("client-ms") * 1000;
  workload.client_token_us = flags.Float("client-us-per-token");
  workload.seed = static_cast<uint64_t>(flags.Int("seed"));
  return DrawTraffic(workload);
}

}  // namespace penstock
