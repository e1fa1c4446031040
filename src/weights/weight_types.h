// WeightTypes: how the weight matrices of a quantised checkpoint are stored and multiplied, by name.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace penstock {

enum class WeightType {
  kFloat,        // f32, f16 or bf16 (or block FP8)
  kW8A8,         // int8; the input has one scale and one offset, fixed
  kW8A8Dynamic,  // int8; the input has one scale for each token
  kW8A8Mix,      // stored with what both need; multiplied as kW8A8Dynamic
};

// "FLOAT", "W8A8", "W8A8_DYNAMIC", "W8A8_MIX".
std::string_view WeightTypeName(WeightType type);

inline bool IsDynamic(WeightType type) {
  return type == WeightType::kW8A8Dynamic || type == WeightType::kW8A8Mix;
}

class WeightTypes {
 public:
  virtual ~WeightTypes() = default;

  // As --quantization calls the format: "ascend", "compressed-tensors".
  virtual std::string_view method() const = 0;

  // For the log: what there is of each type.
  virtual std::string Summary() const = 0;

  // Of the tensor `name` ("model.layers.0.mlp.up_proj.weight"). `is_projection`: it is one of an attention's
  // or MLP's, what some formats mean by "all linear layers", not a router, head or embedding. kUnimplemented,
  // naming the tensor, the type that it has and those that are read.
  virtual Result<WeightType> TypeOf(const std::string& name, bool is_projection) const = 0;
};

// Tensors that are multiplied as one matrix have one type. kInvalidArgument where they differ.
Status CheckSameType(const std::string& one, WeightType one_type, const std::string& other,
                     WeightType other_type);

}  // namespace penstock
