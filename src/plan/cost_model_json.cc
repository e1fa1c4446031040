// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_model_json.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/json.h"

namespace penstock {
namespace {

constexpr const char* kFormat = "penstock_cost_model";
constexpr int kVersion = 1;
constexpr const char* kWhat = "saved cost model";
constexpr double kMost = 1e12;  // microseconds: what is beyond would make sums overflow

struct CostField {
  const char* name;
  double StageCost::* value;
};
constexpr CostField kCostFields[] = {
    {"step_us", &StageCost::step_us},
    {"token_us", &StageCost::token_us},
    {"floor_us", &StageCost::floor_us},
    {"pair_us", &StageCost::pair_us},
    {"history_us", &StageCost::history_us},
    {"seq_us", &StageCost::seq_us},
    {"decode_token_us", &StageCost::decode_token_us},
    {"decode_context_us", &StageCost::decode_context_us},
};

// Names come from paths and devices: they need not be UTF-8.
std::string ToText(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

// What a file can hold of the key: without bytes that are not UTF-8.
Json KeyToJson(const CostModelKey& key) {
  const Json json = {{"model", key.model},
                     {"config_hash", key.config_hash},
                     {"dtype", key.dtype},
                     {"quantization", key.quantization},
                     {"pipeline_parallel_size", key.pipeline_parallel_size},
                     {"tensor_parallel_size", key.tensor_parallel_size},
                     {"context_parallel_size", key.context_parallel_size},
                     {"data_parallel_size", key.data_parallel_size},
                     {"expert_parallel_size", key.expert_parallel_size},
                     {"layer_partition", key.layer_partition},
                     {"threads_per_rank", key.threads_per_rank},
                     {"device", key.device},
                     {"isa", key.isa},
                     {"build", key.build}};
  return *ParseJson(ToText(json), kWhat);
}

Result<Json> Member(const Json& object, const char* name, const std::string& where) {
  if (!object.is_object()) return InvalidArgument("{}: {} is not an object", kWhat, where);
  const auto it = object.find(name);
  if (it == object.end()) return InvalidArgument("{}: {} has no \"{}\"", kWhat, where, name);
  return *it;
}

Status CheckKey(const Json& got, const Json& expected) {
  for (const auto& [name, value] : expected.items()) {
    ASSIGN_OR_RETURN(const Json member, Member(got, name.c_str(), "key"));
    if (member != value) {
      return InvalidArgument("{}: {} is {}, expected {}", kWhat, name, ToText(member), ToText(value));
    }
  }
  return OkStatus();
}

Result<double> Number(const Json& object, const char* name, const std::string& where) {
  ASSIGN_OR_RETURN(const Json member, Member(object, name, where));
  const double value = member.is_number() ? member.get<double>() : -1;
  if (!(value >= 0 && value <= kMost)) {
    return InvalidArgument("{}: {} of {} is {}, expected a number from 0 to {}", kWhat, name, where,
                           ToText(member), kMost);
  }
  return value;
}

Result<StageCost> StageFromJson(const Json& json, const std::string& where) {
  StageCost cost;
  for (const CostField& field : kCostFields) {
    ASSIGN_OR_RETURN(cost.*field.value, Number(json, field.name, where));
  }
  if (!cost.IsSound()) return InvalidArgument("{}: {} costs nothing, expected a number > 0", kWhat, where);
  return cost;
}

Result<FitQuality> QualityFromJson(const Json& json) {
  FitQuality quality;
  ASSIGN_OR_RETURN(quality.median_error, Number(json, "median_error", "quality"));
  ASSIGN_OR_RETURN(quality.p90_error, Number(json, "p90_error", "quality"));
  ASSIGN_OR_RETURN(const double num_samples, Number(json, "num_samples", "quality"));
  quality.num_samples = static_cast<int32_t>(std::min(num_samples, 1e9));
  return quality;
}

}  // namespace

std::string CostModelToText(const CostModel& model, const CostModelKey& key, const FitQuality& quality) {
  CHECK_EQ(model.num_stages(), key.pipeline_parallel_size);
  Json stages = Json::array();
  for (const StageCost& cost : model.stages) {
    CHECK(cost.IsSound());
    Json stage;
    for (const CostField& field : kCostFields) stage[field.name] = cost.*field.value;
    stages.push_back(std::move(stage));
  }
  const Json json = {{kFormat, kVersion},
                     {"key", KeyToJson(key)},
                     {"quality",
                      {{"median_error", quality.median_error},
                       {"p90_error", quality.p90_error},
                       {"num_samples", quality.num_samples}}},
                     {"stages", std::move(stages)}};
  return ToText(json, 2) + "\n";
}

Result<SavedCostModel> CostModelFromText(std::string_view text, const CostModelKey& expected) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, kWhat, 8));
  ASSIGN_OR_RETURN(const Json version, Member(json, kFormat, "the text"));
  if (version != kVersion) {
    return InvalidArgument("{}: format {} is {}, expected {}", kWhat, kFormat, ToText(version), kVersion);
  }
  ASSIGN_OR_RETURN(const Json key, Member(json, "key", "the text"));
  RETURN_IF_ERROR(CheckKey(key, KeyToJson(expected)));

  SavedCostModel saved;
  ASSIGN_OR_RETURN(const Json quality, Member(json, "quality", "the text"));
  ASSIGN_OR_RETURN(saved.quality, QualityFromJson(quality));
  ASSIGN_OR_RETURN(const Json stages, Member(json, "stages", "the text"));
  const size_t num_stages = stages.is_array() ? stages.size() : 0;
  if (num_stages != static_cast<size_t>(expected.pipeline_parallel_size)) {
    return InvalidArgument("{}: {} stages, expected {}", kWhat, num_stages, expected.pipeline_parallel_size);
  }
  for (const Json& stage : stages) {
    ASSIGN_OR_RETURN(const StageCost cost,
                     StageFromJson(stage, fmt::format("stage {}", saved.model.stages.size())));
    saved.model.stages.push_back(cost);
  }
  return saved;
}

}  // namespace penstock
