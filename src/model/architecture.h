// Architecture: what one model family is, in one file each (llama.cc, qwen3.cc, …), and the list of them.
//
// A new family made of known blocks costs its file, one line in registry.cc and one golden test.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/status.h"
#include "model/block.h"
#include "model/config_reader.h"
#include "model/model_config.h"
#include "model/tensor_table.h"
#include "model/weight_source.h"

namespace penstock {

struct Architecture {
  std::string_view name;  // as config.json's "architectures" says it

  // Fields that only this family has, and its restrictions; the common ones are read already. Errors stay in
  // `json`.
  void (*read_config)(ConfigReader& json, ModelConfig& config);

  // Declares the tensors of one layer.
  void (*declare_layer)(const ModelConfig& config, int32_t layer, TensorTable& table);

  // Makes one layer; `weights` stands at it. On failure, weights.status() says why and the layer is not used.
  DecoderLayer (*make_layer)(const ModelConfig& config, int32_t layer, WeightSource& weights);
};

extern const Architecture kLlama;
extern const Architecture kQwen3;
extern const Architecture kQwen3Moe;
extern const Architecture kDeepseekV3;

// The two norms that every layer of every family has, and a layer with only them.
void DeclareNorms(const ModelConfig& config, int32_t layer, TensorTable& table);
DecoderLayer MakeNorms(WeightSource& weights);

std::span<const Architecture* const> Architectures();

// Null if there is none of that name.
const Architecture* FindArchitecture(std::string_view name);

// All tensors of a model.
TensorTable MakeTensorTable(const Architecture& architecture, const ModelConfig& config);

}  // namespace penstock
