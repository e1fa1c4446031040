// SPDX-License-Identifier: Apache-2.0
#include "apps/stall_watch.h"

#include <chrono>

#include "base/affinity.h"

namespace penstock {

StallWatch::StallWatch(const Engine& engine, std::function<void(const Status&)> on_stall, int64_t period_us)
    : engine_(engine),
      thread_([this, on_stall = std::move(on_stall), period_us] { Watch(on_stall, period_us); }) {}

StallWatch::~StallWatch() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void StallWatch::Watch(const std::function<void(const Status&)>& on_stall, int64_t period_us) {
  NameThisThread("stall watch");
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, std::chrono::microseconds(period_us), [this] { return stopping_; })) {
    const Status stall = engine_.Stall();
    if (stall.ok()) continue;
    lock.unlock();
    return on_stall(stall);
  }
}

}  // namespace penstock
