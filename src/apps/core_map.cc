// SPDX-License-Identifier: Apache-2.0
#include "apps/core_map.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace penstock {

CoreMap MapCores(std::span<const int> usable, int32_t num_ranks, std::optional<int32_t> threads_per_rank) {
  CHECK_GT(num_ranks, 0);
  const int64_t num_cores = static_cast<int64_t>(usable.size());
  CoreMap map;
  map.threads_per_rank =
      threads_per_rank.value_or(static_cast<int32_t>(std::max<int64_t>(1, num_cores / num_ranks)));
  map.cores.resize(num_ranks);
  if (int64_t{map.threads_per_rank} * num_ranks > num_cores) return map;
  for (int32_t rank = 0; rank < num_ranks; ++rank) {
    const auto first = usable.begin() + int64_t{rank} * map.threads_per_rank;
    map.cores[rank].assign(first, first + map.threads_per_rank);
  }
  return map;
}

std::string FormatCoreMap(const CoreMap& map) {
  if (map.cores.empty() || map.cores[0].empty()) {
    return fmt::format("{} ranks of {} threads, more than there are cores: not pinned", map.cores.size(),
                       map.threads_per_rank);
  }
  std::string text;
  for (size_t rank = 0; rank < map.cores.size(); ++rank) {
    const std::vector<int>& cores = map.cores[rank];
    text += fmt::format("{}rank {}: core{} ", rank == 0 ? "" : "; ", rank, cores.size() == 1 ? "" : "s");
    for (size_t i = 0; i < cores.size();) {
      size_t end = i + 1;
      while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
      text += fmt::format("{}{}", i == 0 ? "" : ",", cores[i]);
      if (end - i > 1) text += fmt::format("-{}", cores[end - 1]);
      i = end;
    }
  }
  return text;
}

}  // namespace penstock
