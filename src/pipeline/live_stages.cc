// SPDX-License-Identifier: Apache-2.0
#include "pipeline/live_stages.h"

namespace penstock {

void LiveStages::Add(const Stage& stage) {
  std::lock_guard lock(mutex_);
  stages_.push_back(&stage);
}

void LiveStages::Remove(const Stage& stage) {
  std::lock_guard lock(mutex_);
  std::erase(stages_, &stage);
  stage.AddCounters(gone_);
}

RankCounters LiveStages::Counters() const {
  std::lock_guard lock(mutex_);
  RankCounters sum = gone_;
  for (const Stage* const stage : stages_) stage->AddCounters(sum);
  return sum;
}

}  // namespace penstock
