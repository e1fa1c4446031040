// LayerFlops: how many floating-point operations each part of a model takes, counted from its tensor table.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/status.h"
#include "model/model_config.h"

namespace penstock {

struct LayerFlops {
  double per_token = 0;  // the layer's matrices; of a mixture of experts, the experts that a token takes
  double per_pair = 0;   // attention of one query to one key
};

struct ModelFlops {
  std::vector<LayerFlops> layers;  // [num_layers]
  double embedding_per_token = 0;
  double head_per_sample = 0;  // of each token that is drawn
};

// kUnimplemented for an architecture that is not known.
Result<ModelFlops> CountFlops(const ModelConfig& config);

}  // namespace penstock
