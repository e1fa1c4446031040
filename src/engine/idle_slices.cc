// SPDX-License-Identifier: Apache-2.0
#include "engine/idle_slices.h"

#include <algorithm>

namespace penstock {
namespace {

void Append(int32_t stage, IdleCause cause, int64_t begin_us, int64_t end_us,
            std::vector<IdleSlice>* slices) {
  if (end_us > begin_us) slices->push_back({stage, cause, begin_us, end_us});
}

}  // namespace

std::string_view IdleCauseName(IdleCause cause) {
  switch (cause) {
    case IdleCause::kFill:
      return "fill";
    case IdleCause::kStarved:
      return "starved";
    case IdleCause::kReceive:
      return "waiting for receive";
    case IdleCause::kHostGap:
      return "host gap";
    case IdleCause::kDrain:
      break;
  }
  return "drain";
}

void IdleFinder::OnStep(int64_t submit_us, std::span<const StageStamp> stamps,
                        std::vector<IdleSlice>* slices) {
  if (!period_begin_us_) period_begin_us_ = submit_us;
  int64_t arrival_us = submit_us;  // at the stage
  for (const StageStamp& stamp : stamps) {
    const auto stage = static_cast<size_t>(stamp.stage);
    if (stage >= stage_free_us_.size()) stage_free_us_.resize(stage + 1);
    std::optional<int64_t>& free_us = stage_free_us_[stage];
    if (!free_us) {
      Append(stamp.stage, IdleCause::kFill, *period_begin_us_, stamp.begin_us, slices);
    } else if (stamp.begin_us > *free_us) {
      const int64_t submitted_us = std::clamp(submit_us, *free_us, stamp.begin_us);
      const int64_t arrived_us = std::clamp(arrival_us, submitted_us, stamp.begin_us);
      Append(stamp.stage, IdleCause::kStarved, *free_us, submitted_us, slices);
      Append(stamp.stage, IdleCause::kReceive, submitted_us, arrived_us, slices);
      Append(stamp.stage, IdleCause::kHostGap, arrived_us, stamp.begin_us, slices);
    }
    free_us = arrival_us = stamp.end_us;
    last_end_us_ = std::max(last_end_us_, stamp.end_us);
  }
}

void IdleFinder::EndPeriod(std::vector<IdleSlice>* slices) {
  for (size_t stage = 0; stage < stage_free_us_.size(); ++stage) {
    if (!stage_free_us_[stage]) continue;
    Append(static_cast<int32_t>(stage), IdleCause::kDrain, *stage_free_us_[stage], last_end_us_, slices);
  }
  stage_free_us_.clear();
  period_begin_us_.reset();
}

}  // namespace penstock
