// Which format a checkpoint's weights are of, and what is made of them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/json.h"
#include "base/status.h"
#include "model/model_config.h"

namespace penstock {

// Sets the fields of `config` that say how weights are quantised. `json` is config.json, which is in
// `model_dir`; `quantization` as ReadModelConfig() takes it, whose errors these are.
Status ReadQuantization(const Json& json, const std::string& model_dir, const std::string& quantization,
                        ModelConfig& config);

}  // namespace penstock
