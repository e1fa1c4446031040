// ProcessMap: which process of a job has which ranks of the layout: neighbours, the same number each.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/status.h"
#include "plan/parallel_layout.h"

namespace penstock {

struct ProcessMap {
  ParallelLayout layout;
  int32_t num_processes = 1;

  int32_t ranks_per_process() const { return layout.world_size() / num_processes; }
  int32_t ProcessOf(int32_t rank) const { return rank / ranks_per_process(); }
  // Which of its process's ranks.
  int32_t LocalIndex(int32_t rank) const { return rank % ranks_per_process(); }
  int32_t FirstRank(int32_t process) const { return process * ranks_per_process(); }
};

// kInvalidArgument unless each process has whole stages of one replica, or one rank: a group of ranks is
// within one process, or each of its members is in another.
Status CheckProcessMap(const ProcessMap& map);

}  // namespace penstock
