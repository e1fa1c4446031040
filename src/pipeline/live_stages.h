// LiveStages: the ranks of one replica that are in this process, as far as others may look at them while they
// work.
//
// Thread-safe.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <vector>

#include "pipeline/stage.h"
#include "plan/rank_counters.h"

namespace penstock {

class LiveStages {
 public:
  // `stage` stays until it is removed.
  void Add(const Stage& stage);
  void Remove(const Stage& stage);

  // Of all stages that were ever here. What ranks have in common is counted once.
  RankCounters Counters() const;

 private:
  mutable std::mutex mutex_;
  std::vector<const Stage*> stages_;  // GUARDED_BY(mutex_)
  RankCounters gone_;                 // GUARDED_BY(mutex_): of those that were removed
};

}  // namespace penstock
