// Rotary position embedding: the angles of every position, with the scalings of long-context models.
//
// Formulas: YaRN, https://arxiv.org/abs/2309.00071; Llama 3.1's, "The Llama 3 Herd of Models" and its
// release; evaluated in fp32 in the order in which Hugging Face transformers does, since models are trained
// with that noise.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/kernels.h"
#include "model/model_config.h"

namespace penstock {

// Numbers of a head that are rotated.
int32_t RotatedDim(const ModelConfig& config);

// Angle per position of pair i, [dim / 2].
std::vector<float> InverseFrequencies(const RopeConfig& rope, int32_t dim);

// The factor of cos and sin: 1 but for YaRN.
float RopeAttentionFactor(const RopeConfig& rope);

// YaRN's temperature: 1 for scale <= 1, else 0.1 * mscale * ln(scale) + 1.
double YarnMscale(double scale, double mscale);

// Positions [0, max_positions).
RopeTable MakeRopeTable(const RopeConfig& rope, int32_t dim, int32_t max_positions);

// Memory of such a table.
size_t RopeTableBytes(int32_t dim, int32_t max_positions);

}  // namespace penstock
