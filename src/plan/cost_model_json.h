// A cost model as text, for saving a fit and loading it at the next start. With it goes the key of what was
// measured: a fit is worth nothing elsewhere.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "plan/cost_fit.h"
#include "plan/cost_model.h"

namespace penstock {

struct CostModelKey {
  std::string model;         // its name
  std::string config_hash;   // of what the model's config says
  std::string dtype;         // of the weights as computed with
  std::string quantization;  // "" for none
  int32_t pipeline_parallel_size = 1;
  int32_t tensor_parallel_size = 1;
  int32_t context_parallel_size = 1;
  int32_t data_parallel_size = 1;
  int32_t expert_parallel_size = 1;
  std::vector<int32_t> layer_partition;  // [pipeline_parallel_size]
  int32_t threads_per_rank = 0;
  std::string device;  // CPU or GPU, as it names itself
  std::string isa;     // of the kernels: avx2, sm_90, …
  std::string build;   // version and commit

  bool operator==(const CostModelKey&) const = default;
};

// REQUIRES: one stage's cost for each of the pipeline, all sound.
std::string CostModelToText(const CostModel& model, const CostModelKey& key, const FitQuality& quality);

struct SavedCostModel {
  CostModel model;  // [expected.pipeline_parallel_size], sound
  FitQuality quality;
};

// kInvalidArgument, with the field, what it is and what was expected, for text that is not such a model, for
// unsound numbers and for any difference between the keys.
Result<SavedCostModel> CostModelFromText(std::string_view text, const CostModelKey& expected);

}  // namespace penstock
