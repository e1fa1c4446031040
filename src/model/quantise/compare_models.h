// How far a quantised model is from the one that it was made of, on texts: layer by layer, and at the end.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/quantise/layer_walk.h"

namespace penstock {

// Relative errors are the norm of the difference over the norm of what is right, of each token, averaged.
struct LayerError {
  double alone = 0;        // of what the layer adds to its input, which is the float model's
  double accumulated = 0;  // of the hidden states after the layer, all layers before it quantised too
};

struct ModelErrors {
  std::vector<LayerError> layers;
  double logits = 0;            // relative error of the logits of a token
  double kl_divergence = 0;     // of the next token's distribution, from the float one, in nats
  double same_greedy = 0;       // share of tokens where both have the same likeliest next one
  double float_perplexity = 0;  // of the texts, without each one's first token; 0 where none has a second
  double quantised_perplexity = 0;
  int64_t num_tokens = 0;
};

// The two differ in directory and config only. Both are computed by the engine's own kernels.
Result<ModelErrors> CompareModels(const WalkSetup& float_model, const WalkSetup& quantised, Kernels& kernels,
                                  const LayerProgress& progress);

}  // namespace penstock
