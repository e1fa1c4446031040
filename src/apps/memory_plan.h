// MemoryPlan: how much memory a server takes, computed before it is taken.
//
//   weights + activations + KV blocks  <=  utilization * what is free
//
// Pure arithmetic. All stages have the same number of blocks: a block id means the same tokens on each of
// them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"

namespace penstock {

struct RankMemory {
  uint64_t weight_bytes = 0;
  uint64_t activation_bytes = 0;  // at the largest step and the longest sequence
  uint64_t kv_block_bytes = 0;    // one block of every layer of the rank
};

struct MemoryRequest {
  std::vector<RankMemory> ranks;
  uint64_t free_bytes = 0;
  double utilization = 0.9;  // (0, 1]
  int32_t block_size = 64;
  int32_t max_num_seqs = 1;
  int32_t max_model_len = 1;
  bool auto_max_model_len = false;        // max_model_len may be lowered to what fits
  std::optional<int64_t> kv_cache_bytes;  // the operator's choice
  std::optional<int32_t> num_blocks;      // the operator's choice; comes before kv_cache_bytes
};

struct MemoryPlan {
  int32_t num_blocks = 0;
  int32_t max_model_len = 0;
  uint64_t weight_bytes = 0;
  uint64_t activation_bytes = 0;
  uint64_t kv_bytes = 0;
  uint64_t budget_bytes = 0;

  uint64_t total_bytes() const { return weight_bytes + activation_bytes + kv_bytes; }
};

// The number of blocks: num_blocks, else what kv_cache_bytes holds, else what max_num_seqs sequences of
// max_model_len tokens need, cut to the budget. kResourceExhausted, with all numbers and the flags to change,
// where a request of max_model_len tokens would not fit, or where the operator's choice is more than what is
// free.
Result<MemoryPlan> PlanMemory(const MemoryRequest& request);

// Requests of max_model_len tokens that the blocks hold at once.
double MaxConcurrency(const MemoryPlan& plan, int32_t block_size);

// "12.3 GiB", "4.0 MiB".
std::string FormatBytes(uint64_t bytes);

// "65,536".
std::string FormatCount(uint64_t count);

}  // namespace penstock
