// Whether a model can be cut as a layout asks for.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/status.h"
#include "model/model_config.h"
#include "model/rank_share.h"

namespace penstock {

// Of the sizes of `share` only. kInvalidArgument names the size, what of the model does not divide by it, and
// what was expected. Any number of ranks can share tokens, whole experts, and
// the vocabulary.
Status CheckShare(const ModelConfig& config, const RankShare& share);

}  // namespace penstock
