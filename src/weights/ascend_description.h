// quant_model_description.json of an Ascend checkpoint (msModelSlim): a flat object, tensor name -> type,
// beside a few keys about the whole.
//
//   {"model_quant_type": "W8A8", "version": "1.0.0", …, "model.layers.0.self_attn.q_proj.weight": "W8A8", …}
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "weights/weight_types.h"

namespace penstock {

inline constexpr char kAscendDescriptionFile[] = "quant_model_description.json";

bool HasAscendDescription(const std::string& dir);

// Reads DIR/quant_model_description.json. kNotFound, in vLLM-Ascend's words, if there is none;
// kInvalidArgument for what is not such a description.
//
// TypeOf() of a tensor that is not listed is kFloat: if the file has it as int8 after all, whoever reads it
// says so. What a checkpoint asks for beyond weights (an 8-bit KV cache) has no effect and is in the
// Summary().
Result<std::shared_ptr<const WeightTypes>> ReadAscendDescription(const std::string& dir);

}  // namespace penstock
