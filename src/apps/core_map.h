// Which cores each rank gets.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace penstock {

struct CoreMap {
  int32_t threads_per_rank = 1;
  std::vector<std::vector<int>>
      cores;  // [num_ranks]; empty lists where threads outnumber cores: nothing is pinned
};

// Gives each rank its own run of `usable` cores. Without `threads_per_rank`, cores are shared evenly, at
// least one thread for each rank.
CoreMap MapCores(std::span<const int> usable, int32_t num_ranks, std::optional<int32_t> threads_per_rank);

// "rank 0: cores 0-3; rank 1: cores 4-7", or what is so instead.
std::string FormatCoreMap(const CoreMap& map);

}  // namespace penstock
