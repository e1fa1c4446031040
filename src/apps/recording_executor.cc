// SPDX-License-Identifier: Apache-2.0
#include "apps/recording_executor.h"

namespace penstock {

void RecordingExecutor::Submit(std::unique_ptr<Step> step) {
  {
    std::lock_guard lock(mutex_);
    in_flight_.push_back(WorkOf(*step));
  }
  inner_.Submit(std::move(step));
}

std::unique_ptr<StepResult> RecordingExecutor::Poll() {
  std::unique_ptr<StepResult> result = inner_.Poll();
  if (!result) return nullptr;
  std::lock_guard lock(mutex_);
  const StepWork work = in_flight_.front();
  in_flight_.pop_front();
  if (!result->status.ok() || !result->skipped.empty() || result->stamps.size() != samples_.size())
    return result;
  for (size_t stage = 0; stage < samples_.size(); ++stage) {
    const StageStamp& stamp = result->stamps[stage];
    samples_[stage].push_back({.work = work, .time_us = static_cast<double>(stamp.end_us - stamp.begin_us)});
  }
  return result;
}

std::vector<std::vector<CostSample>> RecordingExecutor::TakeSamples() {
  std::lock_guard lock(mutex_);
  return std::exchange(samples_, std::vector<std::vector<CostSample>>(samples_.size()));
}

}  // namespace penstock
