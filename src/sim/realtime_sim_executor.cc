// SPDX-License-Identifier: Apache-2.0
#include "sim/realtime_sim_executor.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/affinity.h"
#include "base/clock.h"

namespace penstock {

RealtimeSimExecutor::RealtimeSimExecutor(SimConfig config)
    : num_stages_(config.num_stages), sim_(std::move(config), clock_), thread_([this] { Run(); }) {}

RealtimeSimExecutor::~RealtimeSimExecutor() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void RealtimeSimExecutor::CatchUp() { clock_.AdvanceTo(std::max(NowUs(), clock_.now_us())); }

void RealtimeSimExecutor::Submit(std::unique_ptr<Step> step) {
  {
    std::lock_guard lock(mutex_);
    CatchUp();
    sim_.Submit(std::move(step));
    first_stage_steps_ = sim_.FirstStage().num_steps;
  }
  changed_.notify_all();
}

std::unique_ptr<StepResult> RealtimeSimExecutor::Poll() {
  std::lock_guard lock(mutex_);
  if (results_.empty()) return nullptr;
  std::unique_ptr<StepResult> result = std::move(results_.front());
  results_.pop_front();
  return result;
}

FirstStageLoad RealtimeSimExecutor::FirstStage() const {
  std::lock_guard lock(mutex_);
  return sim_.FirstStage();
}

void RealtimeSimExecutor::SetNotify(std::function<void()> notify) {
  std::lock_guard lock(mutex_);
  notify_ = std::move(notify);
}

void RealtimeSimExecutor::Cancel(SeqId seq) {
  std::lock_guard lock(mutex_);
  CatchUp();
  sim_.Cancel(seq);
}

void RealtimeSimExecutor::SetHung(bool hung) {
  {
    std::lock_guard lock(mutex_);
    hung_ = hung;
  }
  changed_.notify_all();
}

std::vector<std::string> RealtimeSimExecutor::violations() const {
  std::lock_guard lock(mutex_);
  return sim_.violations();
}

void RealtimeSimExecutor::Run() {
  NameThisThread("sim");
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const std::optional<int64_t> next_us = hung_ ? std::nullopt : sim_.NextEventUs();
    if (!next_us) {
      changed_.wait(lock);
      continue;
    }
    if (const int64_t wait_us = *next_us - NowUs(); wait_us > 0) {
      changed_.wait_for(lock, std::chrono::microseconds(wait_us));
      continue;
    }
    CatchUp();
    bool any = false;
    while (std::unique_ptr<StepResult> result = sim_.Poll()) {
      results_.push_back(std::move(result));
      any = true;
    }
    const int32_t steps_before = std::exchange(first_stage_steps_, sim_.FirstStage().num_steps);
    any |= first_stage_steps_ < steps_before;
    if (!any || !notify_) continue;
    const std::function<void()> notify = notify_;
    lock.unlock();
    notify();
    lock.lock();
  }
}

}  // namespace penstock
