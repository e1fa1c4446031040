// StallWatch: ends what hangs. A rank of a job may show signs of life while its computation stands still;
// only the engine sees that, by steps that do not come back (engine/stall_detector.h).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "base/status.h"
#include "engine/engine.h"

namespace penstock {

class StallWatch {
 public:
  // `on_stall` is called once, on the watch's thread, with what Engine::Stall() says. `engine` outlives this.
  StallWatch(const Engine& engine, std::function<void(const Status&)> on_stall, int64_t period_us = 200'000);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

 private:
  void Watch(const std::function<void(const Status&)>& on_stall, int64_t period_us);

  const Engine& engine_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // GUARDED_BY(mutex_)
  std::thread thread_;
};

}  // namespace penstock
