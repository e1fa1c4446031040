// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster_spec.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace penstock {
namespace {

Result<ClusterSpec> FindPreset(std::string_view name) {
  std::string names;
  for (const ClusterPreset& preset : ClusterPresets()) {
    if (preset.name == name) return preset.cluster;
    names += ", " + std::string(preset.name);
  }
  return InvalidArgument("got \"{}\", expected a JSON object, @FILE{}", name, names);
}

Result<ClusterSpec> ReadCluster(const Json& json) {
  if (!json.is_object()) return InvalidArgument("got {}, expected an object", json.dump());
  const std::vector<ClusterField> fields = ClusterFields();
  ClusterSpec cluster;
  if (const auto base = json.find("base"); base != json.end()) {
    if (!base->is_string()) return InvalidArgument("\"base\": got {}, expected a name", base->dump());
    ASSIGN_OR_RETURN(cluster, FindPreset(base->get<std::string>()));
  }
  for (const auto& [key, value] : json.items()) {
    if (key == "comment" || key == "base") continue;
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const ClusterField& f) { return key == f.name; });
    if (field == fields.end()) {
      std::string names;
      for (const ClusterField& known : fields) names += (names.empty() ? "" : ", ") + std::string(known.name);
      return InvalidArgument("got \"{}\", expected base, comment, {}", key, names);
    }
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!std::isfinite(number) || number < 0 || (number == 0 && !field->may_be_zero)) {
      return InvalidArgument("\"{}\": got {}, expected a number {}", key, value.dump(),
                             field->may_be_zero ? ">= 0" : "> 0");
    }
    cluster.*field->member = number;
  }
  return cluster;
}

}  // namespace

std::vector<ClusterPreset> ClusterPresets() {
  ClusterSpec seed;
  seed.launch_us = 3'200;
  seed.launch_collective_us = 50;
  seed.step_us = 8'000;
  seed.agree_us = 30'000;
  seed.pcp_gathers_history = 1;
  seed.pcp_with_pp = 0;
  return {{"a3", ClusterSpec()}, {"a3-vllm-ascend", seed}};
}

std::vector<ClusterField> ClusterFields() {
  using C = ClusterSpec;
  return {{"int8_flops", &C::int8_flops},
          {"bf16_flops", &C::bf16_flops},
          {"matmul_efficiency", &C::matmul_efficiency},
          {"attention_efficiency", &C::attention_efficiency},
          {"expand_efficiency", &C::expand_efficiency},
          {"half_rows", &C::half_rows, true},
          {"memory_bytes", &C::memory_bytes},
          {"memory_bytes_per_s", &C::memory_bytes_per_s},
          {"memory_efficiency", &C::memory_efficiency},
          {"devices_per_node", &C::devices_per_node},
          {"intra_bytes_per_s", &C::intra_bytes_per_s},
          {"inter_bytes_per_s", &C::inter_bytes_per_s},
          {"link_efficiency", &C::link_efficiency},
          {"intra_message_us", &C::intra_message_us, true},
          {"inter_message_us", &C::inter_message_us, true},
          {"collective_us", &C::collective_us, true},
          {"layer_us", &C::layer_us, true},
          {"launch_us", &C::launch_us, true},
          {"launch_collective_us", &C::launch_collective_us, true},
          {"step_us", &C::step_us, true},
          {"agree_us", &C::agree_us, true},
          {"sequence_parallel", &C::sequence_parallel, true},
          {"int8_gather", &C::int8_gather, true},
          {"expert_imbalance", &C::expert_imbalance},
          {"expand_history", &C::expand_history, true},
          {"pcp_gathers_history", &C::pcp_gathers_history, true},
          {"pcp_with_pp", &C::pcp_with_pp, true},
          {"lock_step", &C::lock_step, true}};
}

Result<ClusterSpec> ParseClusterSpec(std::string_view text) {
  if (text.starts_with("@")) {
    const std::string path(text.substr(1));
    ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
    Result<ClusterSpec> cluster = ReadCluster(json);
    if (!cluster.ok()) return cluster.status().WithContext(path);
    return cluster;
  }
  if (!text.starts_with("{")) return FindPreset(text);
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, "cluster"));
  return ReadCluster(json);
}

Json ClusterSpecJson(const ClusterSpec& cluster) {
  Json json = Json::object();
  for (const ClusterField& field : ClusterFields()) json[std::string(field.name)] = cluster.*field.member;
  return json;
}

}  // namespace penstock
