// SPDX-License-Identifier: Apache-2.0
#include "engine/submit_pacer.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr double kLongestHoldUs = 1e6;   // then the load is looked at again, whatever was predicted
constexpr int64_t kLookAgainUs = 1'000;  // while the first stage has not taken up its step

}  // namespace

int64_t SubmitPacer::NotBeforeUs(const FirstStageLoad& load, int64_t now_us) const {
  const size_t num_steps = std::min(static_cast<size_t>(load.num_steps), first_stage_us_.size());
  if (num_steps == 0) return now_us;
  double left_us = 0;
  for (auto it = first_stage_us_.end() - static_cast<ptrdiff_t>(num_steps); it != first_stage_us_.end();
       ++it) {
    left_us += *it;
  }
  if (load.begin_us) {
    const double current_us = *(first_stage_us_.end() - static_cast<ptrdiff_t>(num_steps));
    left_us -= std::min(current_us, static_cast<double>(now_us - *load.begin_us));
  }
  const double hold_us = std::ceil(left_us - kQueuedWorkUs);
  if (!(hold_us > 0)) return now_us;
  const auto wait_us = static_cast<int64_t>(std::min(hold_us, kLongestHoldUs));
  return now_us + (load.begin_us ? wait_us : std::max(wait_us, kLookAgainUs));
}

}  // namespace penstock
