// The quantization_config of a compressed-tensors checkpoint (llm-compressor), as far as it is W8A8: int8
// weights with one scale per output channel, int8 activations with one scale per token made on the way.
//
//   {"quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["lm_head"],
//    "config_groups": {"group_0": {"targets": ["Linear"], "weights": {…}, "input_activations": {…}}}}
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/json.h"
#include "base/status.h"
#include "weights/weight_types.h"

namespace penstock {

// `config` is the object. kUnimplemented naming the field and its value for any other scheme;
// kInvalidArgument for what is malformed.
Result<std::shared_ptr<const WeightTypes>> ParseCompressedTensors(const Json& config);

}  // namespace penstock
