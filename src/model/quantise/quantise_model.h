// Quantises a checkpoint and writes it as msModelSlim does for Ascend: safetensors,
// quant_model_description.json, config.json. Which matrices, and how, is what msModelSlim's recipes for
// DeepSeek-V3.1 and Qwen3-235B choose:
//
//   scheme        attention       MLP, experts    kv_b, embedding, head, router, norms, biases
//   w8a8          W8A8            W8A8_DYNAMIC    FLOAT
//   w8a8-dynamic  W8A8_DYNAMIC    W8A8_DYNAMIC    FLOAT
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/model.h"
#include "model/model_config.h"
#include "model/quantise/input_observer.h"
#include "weights/weight_types.h"

namespace penstock {

enum class QuantScheme { kW8A8, kW8A8Dynamic };

// One matrix that became 8-bit integers.
struct QuantisedMatrix {
  std::string module;  // "model.layers.0.self_attn.q_proj"
  int32_t layer = 0;
  WeightType type = WeightType::kFloat;
  double weight_error = 0;  // rms of the difference, relative to the rms of the weights
  float input_scale = 0;    // static
  int32_t input_offset = 0;
  ObservedInput input;
};

struct QuantiseReport {
  std::vector<QuantisedMatrix> matrices;  // in the order of layers
  uint64_t stored_bytes_before = 0;
  uint64_t stored_bytes_after = 0;
  int32_t smoothed_inputs = 0;  // of matrices, or of several that multiply one input
};

struct QuantiseOptions {
  QuantScheme scheme = QuantScheme::kW8A8Dynamic;
  uint64_t max_file_bytes = uint64_t{4} << 30;
  bool smooth = true;  // inputs that were observed: smoothing.h
};

// Whether the checkpoint can be quantised: kInvalidArgument where it is already, kNotFound for a tensor that
// is missing, kUnimplemented for a bias that the engine would not add, and for rows longer than kMaxInt8K.
Status CheckQuantisable(const std::string& model_dir, const ModelConfig& config);

// Writes the weights of the checkpoint in `model_dir`, the description and config.json to `out_dir`, which
// exists and is empty. One matrix at a time is in memory. `inputs` may be empty where nothing is static.
// Errors: those of CheckQuantisable(); kInvalidArgument where the input of a static matrix was not observed
// or not finite; kResourceExhausted where the disk has no room for it; those of reading and writing.
Result<QuantiseReport> QuantiseModel(const std::string& model_dir, const std::string& out_dir,
                                     const ModelConfig& config, const QuantiseOptions& options,
                                     const ObservedInputs& inputs, const LoadProgress& progress);

}  // namespace penstock
