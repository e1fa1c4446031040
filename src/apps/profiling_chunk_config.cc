// SPDX-License-Identifier: Apache-2.0
#include "apps/profiling_chunk_config.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace penstock {
namespace {

// What Python calls the type of a value: the messages are read by people who know vLLM-Ascend's.
std::string_view PythonType(const Json& value) {
  if (value.is_null()) return "NoneType";
  if (value.is_boolean()) return "bool";
  if (value.is_number_integer()) return "int";
  if (value.is_number()) return "float";
  if (value.is_string()) return "str";
  return value.is_array() ? "list" : "dict";
}

Status ReadBool(const Json& value, const std::string& key, bool* out) {
  if (!value.is_boolean()) {
    return InvalidArgument("profiling_chunk_config.{} must be a bool, got {}", key, PythonType(value));
  }
  *out = value.get<bool>();
  return OkStatus();
}

Status ReadInt(const Json& value, const std::string& key, int64_t* out) {
  if (!value.is_number_integer()) {
    return InvalidArgument("profiling_chunk_config.{} must be an int, got {}", key, PythonType(value));
  }
  *out = value.get<int64_t>();
  return OkStatus();
}

Status CheckValues(const ProfilingChunkConfig& config) {
  if (!(config.smooth_factor > 0 && config.smooth_factor <= 1)) {
    return InvalidArgument("profiling_chunk_config.smooth_factor must be in (0, 1], got {}",
                           config.smooth_factor);
  }
  if (config.min_chunk <= 0) {
    return InvalidArgument("profiling_chunk_config.min_chunk must be positive, got {}", config.min_chunk);
  }
  if (config.max_fit_chunk <= 5) {
    return InvalidArgument(
        "profiling_chunk_config.max_fit_chunk: Recommend to use at least 30 data points for fitting, got {}",
        config.max_fit_chunk);
  }
  return OkStatus();
}

Result<ProfilingChunkConfig> ReadProfilingChunk(const Json& json, std::vector<std::string>* warnings) {
  if (!json.is_object()) {
    return InvalidArgument("additional_config.profiling_chunk_config must be a dict, got {}.",
                           PythonType(json));
  }
  ProfilingChunkConfig config;
  std::optional<bool> need_timing;
  for (const auto& [key, value] : json.items()) {
    if (key == "enabled") {
      RETURN_IF_ERROR(ReadBool(value, key, &config.enabled));
    } else if (key == "need_timing") {
      RETURN_IF_ERROR(ReadBool(value, key, &need_timing.emplace()));
    } else if (key == "min_chunk") {
      RETURN_IF_ERROR(ReadInt(value, key, &config.min_chunk));
      config.min_chunk_given = true;
    } else if (key == "max_fit_chunk") {
      RETURN_IF_ERROR(ReadInt(value, key, &config.max_fit_chunk));
    } else if (key == "smooth_factor") {
      if (!value.is_number()) {
        return InvalidArgument("profiling_chunk_config.smooth_factor must be a float, got {}",
                               PythonType(value));
      }
      config.smooth_factor = value.get<double>();
      config.smooth_factor_given = true;
    } else {
      return Unimplemented(
          "additional_config.profiling_chunk_config.{}: not a known key; known: enabled, smooth_factor, "
          "min_chunk, "
          "need_timing, max_fit_chunk",
          key);
    }
  }
  config.need_timing = need_timing.value_or(config.enabled);
  if (config.need_timing && !config.enabled) {
    warnings->push_back("profiling_chunk_config.need_timing has no effect while enabled is false");
    config.need_timing = false;
  }
  RETURN_IF_ERROR(CheckValues(config));
  return config;
}

constexpr std::string_view kProfilingChunk = "profiling_chunk_config";
constexpr std::string_view kFlashComm = "enable_flashcomm1";
constexpr std::string_view kEplb = "eplb_config";
// Switches, and objects with the switch "enabled".
constexpr std::string_view kOtherSchedulers[] = {"enable_balance_scheduling", "short_request_first_config",
                                                 "dyntra_lb_config", "batch_job_sched_config",
                                                 "recompute_scheduler_enable"};

bool IsKnown(std::string_view key) {
  return key == kProfilingChunk || std::ranges::find(kOtherSchedulers, key) != std::end(kOtherSchedulers);
}

std::string KnownKeys() { return fmt::format("{}, {}", kProfilingChunk, fmt::join(kOtherSchedulers, ", ")); }

// scheduler_config, with what stands in its old place beside it.
Result<Json> FindSchedulerConfig(const Json& config, std::vector<std::string>* warnings) {
  Json found = Json::object();
  for (const auto& [key, value] : config.items()) {
    if (IsKnown(key)) {
      warnings->push_back(fmt::format(
          "additional_config.{} is deprecated; use additional_config.scheduler_config.{} instead.", key,
          key));
      found[key] = value;
    } else if (key != "scheduler_config" && key != kFlashComm && key != kEplb) {
      return Unimplemented("additional_config.{}: not a known key; known: scheduler_config, {}, {}, {}", key,
                           KnownKeys(), kFlashComm, kEplb);
    }
  }
  if (!config.contains("scheduler_config") || config["scheduler_config"].is_null()) return found;
  const Json& scheduler = config["scheduler_config"];
  if (!scheduler.is_object()) {
    return InvalidArgument("additional_config.scheduler_config must be a dict, got {}.",
                           PythonType(scheduler));
  }
  for (const auto& [key, value] : scheduler.items()) {
    if (!IsKnown(key)) {
      return Unimplemented("additional_config.scheduler_config.{}: not a known key; known: {}", key,
                           KnownKeys());
    }
    found[key] = value;
  }
  return found;
}

bool IsEnabled(const Json& scheduler, std::string_view key) {
  const auto found = scheduler.find(key);
  if (found == scheduler.end()) return false;
  if (found->is_object()) return found->contains("enabled") && (*found)["enabled"] == true;
  return *found == true;
}

Status CheckOtherSchedulers(const Json& scheduler, const AdditionalConfigContext& context, bool chunks) {
  if (chunks && (IsEnabled(scheduler, "enable_balance_scheduling") || context.balance_scheduling)) {
    return InvalidArgument(
        "profiling_chunk_config and balance scheduling (enable_balance_scheduling) cannot be enabled at the "
        "same time. Please disable one of them.");
  }
  if (chunks && IsEnabled(scheduler, "short_request_first_config")) {
    return InvalidArgument(
        "ShortRequestFirst scheduling cannot be enabled with profiling_chunk_config. Please disable one of "
        "them.");
  }
  if (chunks && IsEnabled(scheduler, "dyntra_lb_config")) {
    return InvalidArgument("DyntraLB cannot be used with profiling_chunk_config.");
  }
  for (std::string_view key : kOtherSchedulers) {
    if (IsEnabled(scheduler, key)) {
      return Unimplemented(
          "additional_config.scheduler_config.{}: this scheduler is not here; see "
          "--scheduling-policy",
          key);
    }
  }
  return OkStatus();
}

}  // namespace

Result<AdditionalConfig> ParseAdditionalConfig(const Json& config, const AdditionalConfigContext& context) {
  AdditionalConfig additional;
  if (config.is_null()) return additional;
  if (!config.is_object())
    return InvalidArgument("additional_config must be a dict, got {}.", PythonType(config));
  ASSIGN_OR_RETURN(const Json scheduler, FindSchedulerConfig(config, &additional.warnings));
  if (const auto found = config.find(kFlashComm); found != config.end()) {
    if (!found->is_boolean()) {
      return InvalidArgument("additional_config.{} must be a bool, got {}", kFlashComm, PythonType(*found));
    }
    additional.enable_flashcomm1 = found->get<bool>();
  }
  if (const auto found = config.find(kEplb); found != config.end()) additional.eplb_config = *found;
  ProfilingChunkConfig chunk;
  const bool has_chunk = scheduler.contains(kProfilingChunk) && !scheduler[kProfilingChunk].is_null();
  if (has_chunk) {
    ASSIGN_OR_RETURN(chunk, ReadProfilingChunk(scheduler[kProfilingChunk], &additional.warnings));
  }
  if (chunk.enabled && chunk.min_chunk > context.max_num_batched_tokens) {
    additional.warnings.push_back(
        fmt::format("profiling_chunk_config.min_chunk {} is lowered to --max-num-batched-tokens {}",
                    chunk.min_chunk, context.max_num_batched_tokens));
    chunk.min_chunk = context.max_num_batched_tokens;
  }
  if (chunk.enabled && context.pipeline_stages <= 1) {
    return InvalidArgument(
        "profiling_chunk_config requires pipeline parallelism (pp > 1). Please set --pipeline-parallel-size "
        "to a value greater than 1, or disable profiling_chunk_config.");
  }
  RETURN_IF_ERROR(CheckOtherSchedulers(scheduler, context, chunk.enabled));
  if (has_chunk) additional.profiling_chunk = chunk;
  return additional;
}

}  // namespace penstock
