// SPDX-License-Identifier: Apache-2.0
#include "apps/expert_flags.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string_view>

namespace penstock {
namespace {

// vLLM's EPLBConfig.
constexpr std::string_view kMovingKeys[] = {
    "window_size", "step_interval", "log_balancedness", "log_balancedness_interval",
    "use_async",   "policy",        "communicator"};
// vLLM-Ascend's.
constexpr std::string_view kAscendMovingKeys[] = {"dynamic_eplb", "expert_heat_collection_interval",
                                                  "algorithm_execution_interval", "eplb_policy_type"};

bool IsIn(std::span<const std::string_view> keys, std::string_view key) {
  return std::ranges::find(keys, key) != keys.end();
}

Status ReadRedundant(const Json& value, const std::string& name, ExpertOptions* options) {
  constexpr int64_t kMost = int64_t{1} << 20;
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMost) {
    return InvalidArgument("{}: got {}, expected a number of experts from 0 to {}", name, value.dump(),
                           kMost);
  }
  options->num_redundant = value.get<int32_t>();
  return OkStatus();
}

Status ReadPath(const Json& value, const std::string& name, std::string* path) {
  if (value.is_null()) return OkStatus();
  if (!value.is_string() || value.get<std::string>().empty()) {
    return InvalidArgument("{}: got {}, expected the path of a file", name, value.dump());
  }
  *path = value.get<std::string>();
  return OkStatus();
}

std::string NotMoved(std::string_view name) {
  return fmt::format(
      "{}: experts are placed once, at start, by the load that --expert-placement names; they are not moved "
      "while running",
      name);
}

// {"num_redundant_experts": 16, …}. `is_ascend`: files may be named besides.
Status ReadEplbConfig(const Json& json, const std::string& name, bool is_ascend, ExpertOptions* options,
                      std::vector<std::string>* warnings) {
  if (!json.is_object()) return InvalidArgument("{}: got {}, expected a JSON object", name, json.dump());
  const std::span<const std::string_view> moving =
      is_ascend ? std::span<const std::string_view>(kAscendMovingKeys) : kMovingKeys;
  std::vector<std::string> without_effect;
  for (const auto& [key, value] : json.items()) {
    const std::string full = name + "." + key;
    if (key == "num_redundant_experts") {
      RETURN_IF_ERROR(ReadRedundant(value, full, options));
    } else if (is_ascend && key == "expert_map_path") {
      RETURN_IF_ERROR(ReadPath(value, full, &options->placement_file));
    } else if (is_ascend && key == "expert_map_record_path") {
      RETURN_IF_ERROR(ReadPath(value, full, &options->record_file));
    } else if (IsIn(moving, key)) {
      if (value != false && !value.is_null()) without_effect.push_back(key);
    } else {
      return Unimplemented("{}: not a known key; known: num_redundant_experts{}, {}", full,
                           is_ascend ? ", expert_map_path, expert_map_record_path" : "",
                           fmt::join(moving, ", "));
    }
  }
  if (!without_effect.empty()) {
    warnings->push_back(NotMoved(fmt::format("{}: {}", name, fmt::join(without_effect, ", "))));
  }
  return OkStatus();
}

}  // namespace

Result<ExpertOptions> ResolveExperts(const ParsedFlags& flags, const Json& ascend, bool expert_parallel,
                                     std::vector<std::string>* warnings) {
  ExpertOptions options;
  if (!ascend.is_null()) {
    RETURN_IF_ERROR(ReadEplbConfig(ascend, "--additional-config.eplb_config", true, &options, warnings));
  }
  if (flags.Bool("enable-eplb")) warnings->push_back(NotMoved("--enable-eplb"));
  if (flags.Given("eplb-config")) {
    RETURN_IF_ERROR(
        ReadEplbConfig(flags.JsonValue("eplb-config"), "--eplb-config", false, &options, warnings));
  }
  if (flags.Given("expert-placement")) options.placement_file = flags.String("expert-placement");
  if (flags.Given("record-expert-load")) options.record_file = flags.String("record-expert-load");
  if (flags.Given("num-redundant-experts")) {
    options.num_redundant = static_cast<int32_t>(flags.Int("num-redundant-experts"));
  }
  if (!options.placement_file.empty() && !expert_parallel) {
    return InvalidArgument(
        "--expert-placement {}: got no --enable-expert-parallel, which spreads experts over ranks",
        options.placement_file);
  }
  if (options.num_redundant > 0 && options.placement_file.empty()) {
    const std::string what = fmt::format(
        "{} redundant experts: which ones is chosen by a load that was recorded; record one with "
        "--record-expert-load FILE, then give it with --expert-placement FILE",
        options.num_redundant);
    if (flags.Given("num-redundant-experts")) return InvalidArgument("{}", what);
    warnings->push_back(what + ". Without, there are none");
    options.num_redundant = 0;
  }
  return options;
}

}  // namespace penstock
