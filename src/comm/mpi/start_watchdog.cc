// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/start_watchdog.h"

#include <chrono>
#include <cstdlib>

#include "base/log.h"

namespace penstock {

StartWatchdog::StartWatchdog(int64_t limit_us, std::string message)
    : thread_([this, limit_us, message = std::move(message)] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, std::chrono::microseconds(limit_us), [this] { return done_; })) return;
        LogError("{}", message);
        std::_Exit(1);
      }) {}

StartWatchdog::~StartWatchdog() {
  {
    std::lock_guard lock(mutex_);
    done_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

}  // namespace penstock
