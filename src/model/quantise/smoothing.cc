// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/smoothing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace penstock {
namespace {

// Where an input is made, and the matrices that multiply it, of which a layer has some; behind the layer's
// prefix. up_proj comes first: its rows count where its columns are weighed.
struct Fold {
  const char* producer;
  std::vector<const char*> consumers;
};
const Fold kFolds[] = {
    {"mlp.up_proj.weight", {"mlp.down_proj.weight"}},
    {"mlp.shared_experts.up_proj.weight", {"mlp.shared_experts.down_proj.weight"}},
    {"post_attention_layernorm.weight", {"mlp.gate_proj.weight", "mlp.up_proj.weight"}},
    {"input_layernorm.weight",
     {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
      "self_attn.q_a_proj.weight", "self_attn.kv_a_proj_with_mqa.weight"}},
};
constexpr float kMostLog2 = 10.0f;  // of a factor

using Jobs = std::map<std::string, const QuantiseJob*>;

// The consumers that the layer has; none where one of them does not let the input be smoothed.
std::vector<const QuantiseJob*> ConsumersOf(const Fold& fold, const std::string& layer, const Jobs& jobs,
                                            const ObservedInputs& inputs) {
  std::vector<const QuantiseJob*> consumers;
  for (const char* name : fold.consumers) {
    const auto job = jobs.find(layer + name);
    if (job == jobs.end()) continue;
    const auto input = inputs.find(layer + name);
    const bool observed = input != inputs.end() && input->second.num_rows > 0 && input->second.all_finite;
    if (!observed || job->second->type == WeightType::kFloat) return {};
    consumers.push_back(job->second);
  }
  return consumers;
}

// most[c] becomes at least the largest |w_c|.
Status AddColumnMaxima(const TensorReader& reader, const QuantiseJob& job, std::span<const float> row_factors,
                       std::vector<float>& most) {
  return reader.ReadRows(job.name, job.shape[0], job.shape[1], [&](int64_t r, const float* row) {
    const float factor = row_factors.empty() ? 1.0f : row_factors[r];
    for (size_t c = 0; c < most.size(); ++c) most[c] = std::max(most[c], std::fabs(row[c] * factor));
    return OkStatus();
  });
}

float Factor(const ObservedInput& input, size_t column, float weight) {
  const float x = std::max(std::fabs(input.column_min[column]), std::fabs(input.column_max[column]));
  if (!(x > 0.0f && weight > 0.0f && std::isfinite(x) && std::isfinite(weight))) return 1.0f;
  const float log2 = std::nearbyint(0.5f * (std::log2(x) - std::log2(weight)));
  return std::exp2(std::clamp(log2, -kMostLog2, kMostLog2));
}

std::string LayerPrefix(const std::string& name) {
  constexpr std::string_view kLayers = "model.layers.";
  if (!name.starts_with(kLayers)) return "";
  return name.substr(0, name.find('.', kLayers.size()) + 1);
}

}  // namespace

Result<Smoothing> PlanSmoothing(const TensorReader& reader, const std::vector<QuantiseJob>& jobs,
                                const ObservedInputs& inputs) {
  Jobs by_name;
  std::map<std::string, int> layers;
  for (const QuantiseJob& job : jobs) {
    by_name[job.name] = &job;
    if (job.layer >= 0) layers[LayerPrefix(job.name)] = job.layer;
  }
  Smoothing smoothing;
  for (const auto& [layer, number] : layers) {
    for (const Fold& fold : kFolds) {
      const std::string producer = layer + fold.producer;
      if (!by_name.contains(producer) || reader.Has(Stem(producer) + "bias")) continue;
      const std::vector<const QuantiseJob*> consumers = ConsumersOf(fold, layer, by_name, inputs);
      if (consumers.empty()) continue;
      std::vector<float> factors(static_cast<size_t>(consumers.front()->shape[1]), 0.0f);
      for (const QuantiseJob* consumer : consumers) {
        const std::span<const float> rows = smoothing.FactorsOf(consumer->name).rows;
        RETURN_IF_ERROR(AddColumnMaxima(reader, *consumer, rows, factors));
      }
      const ObservedInput& input = inputs.at(consumers.front()->name);
      std::vector<float> inverses(factors.size());
      for (size_t c = 0; c < factors.size(); ++c) {
        factors[c] = Factor(input, c, factors[c]);
        inverses[c] = 1.0f / factors[c];
      }
      for (const QuantiseJob* consumer : consumers) smoothing.cols_[consumer->name] = factors;
      smoothing.rows_[producer] = std::move(inverses);
      ++smoothing.num_inputs_;
    }
  }
  return smoothing;
}

MatrixFactors Smoothing::FactorsOf(const std::string& name) const {
  MatrixFactors factors;
  if (const auto found = rows_.find(name); found != rows_.end()) factors.rows = found->second;
  if (const auto found = cols_.find(name); found != cols_.end()) factors.cols = found->second;
  return factors;
}

ObservedInput Smoothing::SmoothedInput(const std::string& name, const ObservedInput& input) const {
  const std::span<const float> factors = FactorsOf(name).cols;
  if (factors.empty()) return input;
  ObservedInput smoothed = input;
  smoothed.min = std::numeric_limits<float>::infinity();
  smoothed.max = -smoothed.min;
  for (size_t c = 0; c < factors.size(); ++c) {
    smoothed.column_min[c] /= factors[c];
    smoothed.column_max[c] /= factors[c];
    smoothed.min = std::min(smoothed.min, smoothed.column_min[c]);
    smoothed.max = std::max(smoothed.max, smoothed.column_max[c]);
  }
  return smoothed;
}

}  // namespace penstock
