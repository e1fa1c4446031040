// SPDX-License-Identifier: Apache-2.0
#include "model/weight_source.h"

namespace penstock {

void WeightSource::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

NormWeights WeightSource::Norm(const std::string& name) {
  NormWeights norm{Vector({name + ".weight"}), {}};
  if (Has(Spec(name + ".bias").name)) norm.bias = Vector({name + ".bias"});
  return norm;
}

std::vector<float> WeightSource::Bias(Names modules) {
  std::vector<std::string> matrices;
  for (const std::string& module : modules) matrices.push_back(module + ".weight");
  if (TypeOf(matrices) == WeightType::kW8A8) return {};
  if (Spec(matrices[0]).shard == Shard::kRow && share_.tp_rank != 0) return {};
  std::vector<float> bias;
  for (const std::string& module : modules) {
    const std::vector<float> part = Vector({module + ".bias"});
    bias.insert(bias.end(), part.begin(), part.end());
  }
  return bias;
}

void WeightSource::CheckExperts(std::span<const std::string> names) {
  if (TypeOf(names) != WeightType::kW8A8) return;
  Fail(Unimplemented("tensor {}: type W8A8, expected W8A8_DYNAMIC or FLOAT: static experts are not supported",
                     Spec(names[0]).name));
}

WeightType WeightSource::TypeOf(std::span<const std::string> names) {
  WeightType first = WeightType::kFloat;
  for (size_t i = 0; i < names.size() && status_.ok(); ++i) {
    const TensorSpec& spec = Spec(names[i]);
    const Result<WeightType> type = TypeOfWeight(config_, spec);
    if (!type.ok()) {
      Fail(type.status());
    } else if (i == 0) {
      first = *type;
    } else {
      Fail(CheckSameType(Spec(names[0]).name, first, spec.name, *type));
    }
  }
  return first;
}

Result<WeightType> TypeOfWeight(const ModelConfig& config, const TensorSpec& spec) {
  if (config.quantise_weights) {
    const bool is_meant = spec.projection != Projection::kNone && spec.projection != Projection::kLatentUp;
    return is_meant ? WeightType::kW8A8Dynamic : WeightType::kFloat;
  }
  if (config.weight_types == nullptr) return WeightType::kFloat;
  return config.weight_types->TypeOf(spec.name, spec.projection != Projection::kNone);
}

}  // namespace penstock
