// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_flags.h"

#include <algorithm>
#include <filesystem>
#include <string>

#include "apps/flag_value.h"
#include "plan/parse_layout.h"

namespace penstock {
namespace {

// "name=number" words, over what --cluster says.
Result<ClusterSpec> ReadCluster(const ParsedFlags& flags) {
  Result<ClusterSpec> cluster = ParseClusterSpec(flags.String("cluster"));
  if (!cluster.ok()) return cluster.status().WithContext("--cluster");
  const std::vector<std::string> words = flags.List("cluster-set");
  if (words.empty()) return cluster;
  Json json = ClusterSpecJson(*cluster);
  for (const std::string& word : words) {
    const size_t equals = word.find('=');
    const Result<double> number = ParseFloat(word.substr(std::min(word.size(), equals + 1)));
    if (equals == std::string::npos || !number.ok())
      return InvalidArgument("--cluster-set: got \"{}\", expected NAME=NUMBER", word);
    json[word.substr(0, equals)] = *number;
  }
  cluster = ParseClusterSpec(json.dump());
  if (!cluster.ok()) return cluster.status().WithContext("--cluster-set");
  return cluster;
}

Result<ModelShape> ReadModel(const std::string& name) {
  if (!std::filesystem::is_directory(name)) {
    Result<ModelShape> shape = FindModelPreset(name);
    if (!shape.ok()) return shape.status().WithContext("--model");
    return shape;
  }
  const Result<ModelConfig> config = ReadModelConfig(name);
  if (!config.ok()) return config.status().WithContext("--model");
  return ShapeOf(*config);
}

}  // namespace

ModelShape ShapeOf(const ModelConfig& config) {
  ModelShape shape;
  shape.num_layers = config.num_layers;
  for (int32_t layer = 0; layer < config.num_layers; ++layer)
    shape.num_dense_layers += HasExperts(config, layer) ? 0 : 1;
  shape.hidden_dim = config.hidden_dim;
  shape.vocab_size = config.vocab_size;
  shape.intermediate_dim = config.intermediate_dim;
  shape.num_heads = config.num_heads;
  shape.num_kv_heads = config.num_kv_heads;
  shape.head_dim = config.head_dim;
  shape.q_lora_rank = config.q_lora_rank;
  shape.kv_lora_rank = config.kv_lora_rank;
  shape.nope_dim = config.nope_dim;
  shape.rope_dim = config.rope_dim;
  shape.v_dim = config.v_dim;
  shape.num_experts = config.num_experts;
  shape.experts_per_token = config.num_experts_per_token;
  shape.moe_intermediate_dim = config.moe_intermediate_dim;
  shape.num_shared_experts = config.num_shared_experts;
  const bool int8 = config.weight_types != nullptr || config.quantise_weights || config.fp8_block_rows > 0;
  shape.weight_bytes = int8 ? 1 : 2;
  return shape;
}

Result<LayoutSetup> ResolveLayouts(const ParsedFlags& flags) {
  for (std::string_view name :
       {"cost", "pipeline-parallel-size", "stage-shares", "trace-file", "per-request"}) {
    if (flags.Given(name)) return InvalidArgument("got --layouts and --{}, expected one of them", name);
  }
  LayoutSetup setup;
  Result<std::vector<ParallelLayout>> layouts = ParseLayouts(flags.String("layouts"));
  if (!layouts.ok()) return layouts.status().WithContext("--layouts");
  setup.layouts = *std::move(layouts);
  if (flags.Bool("enable-expert-parallel")) {
    for (ParallelLayout& layout : setup.layouts) layout.expert_parallel = true;
  }
  ASSIGN_OR_RETURN(setup.cluster, ReadCluster(flags));
  ASSIGN_OR_RETURN(setup.model, ReadModel(flags.String("model")));
  return setup;
}

}  // namespace penstock
