// SPDX-License-Identifier: Apache-2.0
#include "apps/sampling_defaults.h"

#include <algorithm>
#include <limits>

namespace penstock {
namespace {

constexpr double kMaxInt = std::numeric_limits<int32_t>::max();

// A number in [min, max] at `key`; nothing where it is missing or null.
Result<std::optional<double>> Number(const Json& config, const char* key, double min, double max) {
  if (!config.contains(key) || config[key].is_null()) return std::optional<double>();
  const Json& value = config[key];
  if (!value.is_number() || value.get<double>() < min || value.get<double>() > max) {
    return InvalidArgument("{}: got {}, expected a number from {} to {}", key, value.dump(), min, max);
  }
  return std::optional<double>(value.get<double>());
}

Status Apply(const Json& config, SamplingDefaults* defaults) {
  SamplingParams& params = defaults->params;
  ASSIGN_OR_RETURN(const std::optional<double> temperature, Number(config, "temperature", 0, 100));
  if (temperature) params.temperature = static_cast<float>(*temperature);
  ASSIGN_OR_RETURN(const std::optional<double> top_p, Number(config, "top_p", 1e-6, 1));
  if (top_p) params.top_p = static_cast<float>(*top_p);
  ASSIGN_OR_RETURN(const std::optional<double> top_k, Number(config, "top_k", -1, kMaxInt));
  if (top_k) params.top_k = std::max(0, static_cast<int32_t>(*top_k));  // -1 and 0: all
  ASSIGN_OR_RETURN(const std::optional<double> min_p, Number(config, "min_p", 0, 1));
  if (min_p) params.min_p = static_cast<float>(*min_p);
  ASSIGN_OR_RETURN(const std::optional<double> penalty, Number(config, "repetition_penalty", 1e-3, 100));
  if (penalty) params.repetition_penalty = static_cast<float>(*penalty);
  ASSIGN_OR_RETURN(const std::optional<double> max_new_tokens, Number(config, "max_new_tokens", 1, kMaxInt));
  if (max_new_tokens) defaults->max_tokens = static_cast<int32_t>(*max_new_tokens);
  return OkStatus();
}

}  // namespace

Result<SamplingDefaults> ReadSamplingDefaults(const std::string& model_dir, const std::string& source,
                                              const Json& overrides) {
  SamplingDefaults defaults;
  if (source != "vllm") {
    const std::string path = (source == "auto" ? model_dir : source) + "/generation_config.json";
    Result<Json> config = ReadJsonFile(path);
    const bool may_be_missing = source == "auto" && config.status().code() == StatusCode::kNotFound;
    if (!config.ok() && !may_be_missing) return config.status();
    if (config.ok()) {
      if (!config->is_object()) return InvalidArgument("{}: expected a JSON object", path);
      if (Status status = Apply(*config, &defaults); !status.ok()) return status.WithContext(path);
    }
  }
  if (!overrides.is_null()) {
    for (const auto& [key, value] : overrides.items()) {
      constexpr const char* kKnown[] = {"temperature",        "top_p",         "top_k", "min_p",
                                        "repetition_penalty", "max_new_tokens"};
      if (std::find(std::begin(kKnown), std::end(kKnown), key) == std::end(kKnown)) {
        return InvalidArgument("--override-generation-config: got the key {}, expected one of {}", key,
                               fmt::join(kKnown, ", "));
      }
    }
    if (Status status = Apply(overrides, &defaults); !status.ok()) {
      return status.WithContext("--override-generation-config");
    }
  }
  return defaults;
}

}  // namespace penstock
