// SPDX-License-Identifier: Apache-2.0
#include "weights/weight_types.h"

namespace penstock {
std::string_view WeightTypeName(WeightType type) {
  switch (type) {
    case WeightType::kFloat:
      return "FLOAT";
    case WeightType::kW8A8:
      return "W8A8";
    case WeightType::kW8A8Dynamic:
      return "W8A8_DYNAMIC";
    case WeightType::kW8A8Mix:
      return "W8A8_MIX";
  }
  return "?";
}

// The messages are vLLM's and vLLM-Ascend's, with the names added.
Status CheckSameType(const std::string& one, WeightType one_type, const std::string& other,
                     WeightType other_type) {
  if (one_type == other_type) return OkStatus();
  const std::string found = fmt::format("tensor {} is {}, tensor {} is {}", one, WeightTypeName(one_type),
                                        other, WeightTypeName(other_type));
  if (one_type == WeightType::kFloat || other_type == WeightType::kFloat) {
    return InvalidArgument(
        "Detected some but not all shards of a fused layer are quantized. All shards of fused layers to have "
        "the same precision: {}",
        found);
  }
  return InvalidArgument(
      "Not all shards of a fused layer are quantized with same quant type. Please check quantization config: "
      "{}",
      found);
}

}  // namespace penstock
