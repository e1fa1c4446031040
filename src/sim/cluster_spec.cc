// SPDX-License-Identifier: Apache-2.0
#include "sim/cluster_spec.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace penstock {
namespace {

Result<ClusterSpec> ReadCluster(const Json& json) {
  if (!json.is_object()) return InvalidArgument("got {}, expected an object", json.dump());
  const std::vector<ClusterField> fields = ClusterFields();
  ClusterSpec cluster;
  for (const auto& [key, value] : json.items()) {
    if (key == "comment") continue;
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const ClusterField& f) { return key == f.name; });
    if (field == fields.end()) {
      std::string names;
      for (const ClusterField& known : fields)
        names += (names.empty() ? "" : ", ") + std::string(known.name);
      return InvalidArgument("got \"{}\", expected comment, {}", key, names);
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
          {"step_us", &C::step_us, true},
          {"sequence_parallel", &C::sequence_parallel, true},
          {"int8_gather", &C::int8_gather, true},
          {"expert_imbalance", &C::expert_imbalance},
          {"expand_history", &C::expand_history, true},
          {"pcp_gathers_history", &C::pcp_gathers_history, true},
          {"lock_step", &C::lock_step, true}};
}

Result<ClusterSpec> ParseClusterSpec(std::string_view text) {
  if (text == "a3") return ClusterSpec();
  if (text.starts_with("@")) {
    const std::string path(text.substr(1));
    ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
    Result<ClusterSpec> cluster = ReadCluster(json);
    if (!cluster.ok()) return cluster.status().WithContext(path);
    return cluster;
  }
  if (!text.starts_with("{"))
    return InvalidArgument("got \"{}\", expected a JSON object, @FILE, or a3", text);
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, "cluster"));
  return ReadCluster(json);
}

Json ClusterSpecJson(const ClusterSpec& cluster) {
  Json json = Json::object();
  for (const ClusterField& field : ClusterFields()) json[std::string(field.name)] = cluster.*field.member;
  return json;
}

}  // namespace penstock
