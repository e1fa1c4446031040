// What is made of each tensor of a checkpoint that is quantised, settled before anything is written.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/quantise/quantise_model.h"
#include "model/tensor_table.h"
#include "weights/checkpoint.h"
#include "weights/safetensors_writer.h"

namespace penstock {

// One tensor of the source and what becomes of it.
struct QuantiseJob {
  std::string name;
  std::vector<int64_t> shape;
  std::string dtype_name;
  uint64_t stored_bytes = 0;
  int32_t layer = -1;
  WeightType type = WeightType::kFloat;
  bool smoothed = false;  // a vector that stays float, multiplied (smoothing.h) and written as fp32

  bool is_fp8() const { return dtype_name == "F8_E4M3"; }
};

// Those of the table in its order, layer by layer; then the others (multi-token prediction), which are
// copied. Errors are those of CheckQuantisable().
Result<std::vector<QuantiseJob>> MakeQuantiseJobs(const Checkpoint& checkpoint, const ModelConfig& config,
                                                  QuantScheme scheme);

// The tensors that are written for a job. Block FP8 that stays float becomes bf16. `wide_deq_scale`: as int64
// with the pattern of a float, as Ascend's fp16 models have it.
std::vector<TensorHeader> HeadersOf(const QuantiseJob& job, bool wide_deq_scale);

// "model.norm." of "model.norm.weight".
inline std::string Stem(const std::string& name) { return name.substr(0, name.rfind('.') + 1); }

}  // namespace penstock
