// SPDX-License-Identifier: Apache-2.0
#include "apps/quantise_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace penstock {
namespace {

constexpr double kMiB = 1 << 20;

// Of the matrices of each layer, the largest relative error of weights.
std::map<int32_t, double> WeightErrors(const QuantiseReport& report) {
  std::map<int32_t, double> errors;
  for (const QuantisedMatrix& matrix : report.matrices) {
    double& worst = errors[matrix.layer];
    worst = std::max(worst, matrix.weight_error);
  }
  return errors;
}

std::string LayerTable(const QuantiseSummary& summary) {
  const bool has_errors = summary.errors.has_value();
  std::string text =
      fmt::format("{:>5}  {:>8}{}\n", "layer", "weights", has_errors ? "     alone  so far" : "");
  for (const auto& [layer, weight_error] : WeightErrors(summary.written)) {
    text += fmt::format("{:>5}  {:>7.2f}%", layer, weight_error * 100);
    if (has_errors) {
      const LayerError& error = summary.errors->layers.at(layer);
      text += fmt::format("  {:>7.2f}%  {:>5.2f}%", error.alone * 100, error.accumulated * 100);
    }
    text += '\n';
  }
  return text;
}

}  // namespace

std::string QuantiseText(const QuantiseSummary& summary) {
  std::string text = "Relative errors. weights: the worst matrix of the layer";
  if (summary.errors) {
    text +=
        "; alone: what the layer adds to the hidden states;\nso far: the hidden states after it, all layers "
        "up to it quantized";
  }
  text += ".\n\n" + LayerTable(summary);
  if (summary.errors) {
    const ModelErrors& errors = *summary.errors;
    text += fmt::format(
        "\nLogits of {} tokens: relative error {:.2f}%, KL divergence {:.5f} nats, the same greedy token "
        "{:.1f}%\n",
        errors.num_tokens, errors.logits * 100, errors.kl_divergence, errors.same_greedy * 100);
    if (errors.float_perplexity > 0) {
      text += fmt::format("Perplexity: {:.3f} in float, {:.3f} quantized ({:+.2f}%)\n",
                          errors.float_perplexity, errors.quantised_perplexity,
                          (errors.quantised_perplexity / errors.float_perplexity - 1) * 100);
    }
  }
  text += fmt::format(
      "\n{}: {} matrices as 8-bit integers, {:.1f} MiB of weights (before: {:.1f} MiB), in {:.1f} s\n",
      summary.out_dir, summary.written.matrices.size(),
      static_cast<double>(summary.written.stored_bytes_after) / kMiB,
      static_cast<double>(summary.written.stored_bytes_before) / kMiB, summary.seconds);
  return text;
}

Json QuantiseJson(const QuantiseSummary& summary) {
  Json matrices = Json::array();
  for (const QuantisedMatrix& matrix : summary.written.matrices) {
    Json row = {{"module", matrix.module},
                {"layer", matrix.layer},
                {"type", WeightTypeName(matrix.type)},
                {"weight_error", matrix.weight_error}};
    if (matrix.type == WeightType::kW8A8) {
      row["input_scale"] = matrix.input_scale;
      row["input_offset"] = matrix.input_offset;
      row["input_min"] = matrix.input.min;
      row["input_max"] = matrix.input.max;
    }
    matrices.push_back(std::move(row));
  }
  Json json = {{"output", summary.out_dir},
               {"scheme", summary.scheme},
               {"seconds", summary.seconds},
               {"weight_bytes_before", summary.written.stored_bytes_before},
               {"smoothed_inputs", summary.written.smoothed_inputs},
               {"weight_bytes_after", summary.written.stored_bytes_after},
               {"matrices", std::move(matrices)}};
  if (!summary.errors) return json;
  const ModelErrors& errors = *summary.errors;
  Json layers = Json::array();
  for (const LayerError& error : errors.layers) {
    layers.push_back({{"alone", error.alone}, {"accumulated", error.accumulated}});
  }
  json["layers"] = std::move(layers);
  json["logits"] = {{"num_tokens", errors.num_tokens},
                    {"relative_error", errors.logits},
                    {"kl_divergence", errors.kl_divergence},
                    {"same_greedy", errors.same_greedy},
                    {"float_perplexity", errors.float_perplexity},
                    {"quantized_perplexity", errors.quantised_perplexity}};
  return json;
}

}  // namespace penstock
