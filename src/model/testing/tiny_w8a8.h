// For tests: tiny checkpoints with 8-bit weights, in memory, so that a test can spoil them before they are
// written.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/testing/tiny_models.h"
#include "weights/ascend_description.h"
#include "weights/quantise_row.h"
#include "weights/weight_types.h"

namespace penstock::testing {

struct StoredTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline StoredTensor F32Tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  return {"F32", std::move(shape), F32Bytes(values)};
}

// A checkpoint and its quant_model_description.json (none if empty).
struct W8A8Files {
  std::map<std::string, StoredTensor> tensors;
  Json description = Json::object();

  void Write(const TempDir& dir) const {
    SafetensorsBuilder builder;
    for (const auto& [name, tensor] : tensors) builder.Add(name, tensor.dtype, tensor.shape, tensor.bytes);
    dir.Write("model.safetensors", builder.Text());
    if (!description.empty()) dir.Write(kAscendDescriptionFile, description.dump());
  }
};

// What a static input is quantised with, such that nearly all numbers stay in the range: what attention gives
// is smaller than what norms give.
inline float InputScale(const std::string& name) { return name.find("o_proj") != name.npos ? 0.02f : 0.1f; }
inline constexpr float kInputOffset = 3;

inline void AddInt8(const std::string& name, const std::vector<int64_t>& shape,
                    const std::vector<float>& values, WeightType type, W8A8Files& files) {
  const std::string stem = name.substr(0, name.size() - 6);
  const int64_t rows = shape[0], cols = shape[1];
  std::string weight(rows * cols, '\0');
  std::vector<float> scales(rows), deq_scales(rows);
  std::vector<int32_t> quant_bias(rows);
  for (int64_t r = 0; r < rows; ++r) {
    auto* row = reinterpret_cast<int8_t*>(weight.data()) + r * cols;
    scales[r] = QuantiseRow(values.data() + r * cols, cols, row).value();
    deq_scales[r] = InputScale(name) * scales[r];
    int32_t sum = 0;
    for (int64_t c = 0; c < cols; ++c) sum += row[c];
    quant_bias[r] = -static_cast<int32_t>(kInputOffset) * sum;
  }
  auto& tensors = files.tensors;
  tensors[name] = {"I8", shape, weight};
  tensors[stem + "weight_scale"] = F32Tensor({rows, 1}, scales);
  tensors[stem + "weight_offset"] = F32Tensor({rows, 1}, std::vector<float>(rows));
  if (type == WeightType::kW8A8Dynamic) return;
  tensors[stem + "input_scale"] = F32Tensor({1}, {InputScale(name)});
  tensors[stem + "input_offset"] = F32Tensor({1}, {kInputOffset});
  tensors[stem + "deq_scale"] = F32Tensor({rows}, deq_scales);
  tensors[stem + "quant_bias"] = {"I32", {rows}, BytesOf(quant_bias.data(), quant_bias.size() * 4)};
}

// Biases of static matrices are in their quant_bias.
inline void FoldBiases(W8A8Files& files) {
  for (auto& [name, tensor] : files.tensors) {
    const std::string stem = name.substr(0, name.rfind('.') + 1);
    if (!name.ends_with(".quant_bias") || !files.tensors.contains(stem + "bias")) continue;
    const std::string bias = files.tensors[stem + "bias"].bytes,
                      deq = files.tensors[stem + "deq_scale"].bytes;
    for (size_t i = 0; i < tensor.bytes.size(); i += 4) {
      float bias_value, deq_value;
      int32_t sum;
      std::memcpy(&bias_value, bias.data() + i, 4);
      std::memcpy(&deq_value, deq.data() + i, 4);
      std::memcpy(&sum, tensor.bytes.data() + i, 4);
      sum += static_cast<int32_t>(std::lrint(bias_value / deq_value));
      std::memcpy(tensor.bytes.data() + i, &sum, 4);
    }
  }
}

// The weights of RandomTensors(), as `type_of` says.
inline W8A8Files TinyW8A8(const ModelConfig& config,
                          const std::function<WeightType(const TensorSpec&)>& type_of) {
  std::mt19937 random(20240607);
  W8A8Files files;
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  for (const TensorSpec& spec : table.specs()) {
    if (spec.optional || (spec.name == "lm_head.weight" && config.tie_word_embeddings)) continue;
    const std::vector<float> values = RandomValues(spec, random);
    const WeightType type = type_of(spec);
    files.description[spec.name] = WeightTypeName(type);
    if (type == WeightType::kFloat) {
      files.tensors[spec.name] = F32Tensor(spec.shape, values);
    } else {
      AddInt8(spec.name, spec.shape, values, type, files);
    }
  }
  FoldBiases(files);
  return files;
}

// Attention, and MLP but for routed experts, of one type; experts of another. kv_b stays float.
inline std::function<WeightType(const TensorSpec&)> Types(WeightType type, WeightType expert_type) {
  return [=](const TensorSpec& spec) {
    if (spec.projection == Projection::kNone || spec.projection == Projection::kLatentUp)
      return WeightType::kFloat;
    return spec.projection == Projection::kExpert ? expert_type : type;
  };
}

}  // namespace penstock::testing
