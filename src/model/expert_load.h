// ExpertLoad: how many tokens were routed to each expert of each layer: what a rank saw of its own tokens.
//
// Thread safety: one thread, the rank's, counts; any may read.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace penstock {

// counts[layer][expert]: routed tokens. A layer without experts, or of another stage, is empty.
using ExpertCounts = std::vector<std::vector<uint64_t>>;

class ExpertLoad {
 public:
  ExpertLoad(int32_t num_layers, int32_t num_experts);

  // ids: choices of experts; -1 is none.
  void Count(int32_t layer, std::span<const int32_t> ids);

  int32_t num_experts() const { return num_experts_; }
  // Adds to `counts` what was counted so far; layers without a count stay as they are.
  void AddTo(ExpertCounts& counts) const;

 private:
  const int32_t num_layers_;
  const int32_t num_experts_;
  std::unique_ptr<std::atomic<uint64_t>[]> counts_;  // [num_layers, num_experts]
};

// {"num_experts": 64, "layers": {"3": [count of each expert], …}}
std::string ExpertCountsToJson(const ExpertCounts& counts);
// The same, read again. `path`: for errors.
Result<ExpertCounts> ReadExpertCounts(const Json& json, const std::string& path, int32_t num_experts);

}  // namespace penstock
