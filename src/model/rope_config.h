// Reading of rotary embedding settings: rope_theta and rope_scaling of older files, rope_parameters of newer
// ones.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "model/config_reader.h"
#include "model/model_config.h"

namespace penstock {

// Errors stay in `json`.
RopeConfig ReadRopeConfig(ConfigReader& json, int32_t max_position_embeddings);

}  // namespace penstock
