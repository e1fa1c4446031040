// What the matrices of a model multiply, seen on texts: the data by which static 8-bit inputs get their scale
// and offset.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/quantise/layer_walk.h"

namespace penstock {

struct ObservedInput {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
  int64_t num_rows = 0;  // tokens seen
  bool all_finite = true;
  std::vector<float> column_min;  // [k], where rows were seen
  std::vector<float> column_max;
};

// By the name of the weight. Matrices that are multiplied as one saw the same.
using ObservedInputs = std::map<std::string, ObservedInput>;

// Runs the texts, as the engine would compute them. Routed experts are not looked into. Errors are those of
// LoadModel().
Result<ObservedInputs> ObserveInputs(const WalkSetup& setup, Kernels& kernels, const LayerProgress& progress);

}  // namespace penstock
