// StatsLog: the line of statistics, as vLLM prints it, every so often while there is traffic.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"

namespace penstock {

class EngineCore;

// What happened between `before` and `now`, `interval_us` apart.
std::string StatsLine(const EngineStats& before, const EngineStats& now, int64_t interval_us,
                      int32_t engine_idx = 0);

class StatsLog {
 public:
  explicit StatsLog(int64_t interval_us) : interval_us_(interval_us) {}  // 0: no lines

  // To be called after every tick. Prints the line if it is due; returns when the next one is,
  // StallDetector::kNever where there is no traffic.
  int64_t Tick(const EngineCore& core, int64_t now_us);

 private:
  const int64_t interval_us_;
  int64_t begin_us_ = 0;  // of the present interval; 0: none, there is no traffic
  EngineStats before_;    // at its begin
};

}  // namespace penstock
