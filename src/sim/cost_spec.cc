// SPDX-License-Identifier: Apache-2.0
#include "sim/cost_spec.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

namespace penstock {
namespace {

constexpr int kMostStages = 1024;
constexpr double kLeanFloor = 0.052;
constexpr double kLeanStep = 0.002;
constexpr std::string_view kLean = "-lean";

template <typename T>
struct Field {
  const char* name;
  double T::* member;
};
constexpr Field<WholeModelCost> kWholeFields[] = {{"alpha", &WholeModelCost::alpha},
                                                  {"beta", &WholeModelCost::beta},
                                                  {"gamma", &WholeModelCost::gamma},
                                                  {"floor", &WholeModelCost::floor},
                                                  {"d0", &WholeModelCost::d0}};
constexpr Field<StageCost> kStageFields[] = {{"step_us", &StageCost::step_us},
                                             {"token_us", &StageCost::token_us},
                                             {"floor_us", &StageCost::floor_us},
                                             {"pair_us", &StageCost::pair_us},
                                             {"history_us", &StageCost::history_us},
                                             {"seq_us", &StageCost::seq_us},
                                             {"decode_token_us", &StageCost::decode_token_us},
                                             {"decode_context_us", &StageCost::decode_context_us}};

template <typename T>
std::string Names(std::span<const Field<T>> fields) {
  std::string names;
  for (const Field<T>& field : fields) names += (names.empty() ? "" : ", ") + std::string(field.name);
  return names;
}

template <typename T>
Result<T> ReadFields(const Json& json, std::span<const Field<T>> fields) {
  if (!json.is_object()) return InvalidArgument("got {}, expected an object", json.dump());
  T cost;
  bool any = false;
  for (const auto& [key, value] : json.items()) {
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field<T>& f) { return key == f.name; });
    if (field == fields.end()) return InvalidArgument("got \"{}\", expected {}", key, Names(fields));
    const double number = value.is_number() ? value.template get<double>() : -1;
    if (!(number >= 0 && std::isfinite(number)))
      return InvalidArgument("\"{}\": got {}, expected a number, 0 or more", key, value.dump());
    cost.*field->member = number;
    any = any || number > 0;
  }
  if (!any)
    return InvalidArgument("got {}, expected one of {} to be more than 0", json.dump(), Names(fields));
  return cost;
}

Result<CostSpec> ReadStages(const Json& stages) {
  if (!stages.is_array() || stages.empty() || stages.size() > kMostStages)
    return InvalidArgument("\"stages\": got {}, expected an array, one object for each stage", stages.dump());
  CostModel model;
  for (size_t i = 0; i < stages.size(); ++i) {
    Result<StageCost> stage = ReadFields<StageCost>(stages[i], kStageFields);
    if (!stage.ok()) return stage.status().WithContext(fmt::format("\"stages\"[{}]", i));
    model.stages.push_back(*stage);
  }
  return CostSpec{model};
}

Result<CostSpec> ReadSpec(const Json& json) {
  if (json.is_object() && json.contains("stages")) return ReadStages(json["stages"]);
  ASSIGN_OR_RETURN(const WholeModelCost whole, ReadFields<WholeModelCost>(json, kWholeFields));
  return CostSpec{whole};
}

Result<CostSpec> FindReference(std::string_view name) {
  std::string names;
  for (const ReferenceCost& reference : ReferenceCosts()) {
    if (reference.name == name) return CostSpec{reference.cost};
    if (name == std::string(reference.name) + std::string(kLean)) {
      WholeModelCost lean = reference.cost;
      lean.floor = kLeanFloor;
      lean.d0 = kLeanStep;
      return CostSpec{lean};
    }
    names += std::string(reference.name) + ", ";
  }
  return InvalidArgument("got \"{}\", expected a JSON object, @FILE, or one of {}each also with {}", name,
                         names, kLean);
}

}  // namespace

std::vector<ReferenceCost> ReferenceCosts() {
  return {
      {"deepseek-v3.1",
       {.alpha = 1.1268728934512e-4, .beta = 2.86578596357e-9, .gamma = 0, .floor = 0.16, .d0 = 0.015}},
      {"qwen3-235b",
       {.alpha = 9.68098792240622e-5, .beta = 2.21580228936910e-9, .gamma = 0, .floor = 0.16, .d0 = 0.015}},
      {"kimi-k2.5", {.alpha = 2.412e-5, .beta = 2.6e-9, .gamma = 2.156e-6, .floor = 0, .d0 = 0.0456}},
  };
}

Result<CostSpec> ParseCostSpec(std::string_view text) {
  if (text.starts_with("@")) {
    const std::string path(text.substr(1));
    ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path));
    Result<CostSpec> spec = ReadSpec(json);
    if (!spec.ok()) return spec.status().WithContext(path);
    return spec;
  }
  if (!text.starts_with("{")) return FindReference(text);
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, "cost model"));
  return ReadSpec(json);
}

Result<CostModel> ResolveCost(const CostSpec& spec, std::optional<int> num_stages,
                              const std::vector<double>& shares) {
  const auto num_shares = static_cast<int>(shares.size());
  if (!shares.empty() && num_stages && *num_stages != num_shares) {
    return InvalidArgument("--stage-shares: got {} shares, expected {}, one for each stage", num_shares,
                           *num_stages);
  }
  if (const auto* model = std::get_if<CostModel>(&spec.cost)) {
    if (!shares.empty())
      return InvalidArgument("--stage-shares: --cost has each stage by itself, expected no shares");
    if (num_stages && *num_stages != model->num_stages()) {
      return InvalidArgument("--pipeline-parallel-size: got {}, expected {}, the number of stages of --cost",
                             *num_stages, model->num_stages());
    }
    return *model;
  }
  const auto& whole = std::get<WholeModelCost>(spec.cost);
  if (shares.empty()) return MakeBalancedCost(whole, num_stages.value_or(2));
  return MakeWeightedCost(whole, shares);
}

}  // namespace penstock
