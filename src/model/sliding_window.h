// Sliding-window attention is not implemented: configurations that ask for it are refused.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "model/config_reader.h"

namespace penstock {

inline void RefuseSlidingWindow(ConfigReader& json) {
  if (json.Bool("use_sliding_window", false) && json.Has("sliding_window")) {
    json.Unsupported("use_sliding_window", "every layer must attend to the whole context");
  }
  const Json* types = json.Find("layer_types");
  if (types == nullptr || !types->is_array()) return;
  if (!std::ranges::all_of(*types, [](const Json& type) { return type == "full_attention"; })) {
    json.Unsupported("layer_types", "every layer must attend to the whole context");
  }
}

}  // namespace penstock
