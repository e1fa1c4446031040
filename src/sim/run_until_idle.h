// Drives an EngineCore over a SimExecutor in virtual time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/engine_core.h"
#include "sim/sim_executor.h"
#include "sim/virtual_clock.h"

namespace penstock {

// Something that happens to the engine at a time: a request comes, another is cancelled.
struct TimedEvent {
  int64_t time_us = 0;
  std::function<void(EngineCore& core, int64_t now_us)> happen;
};

// Lets events happen when their time has come (they must be in order), and time pass, until there are no
// events left and no step is in flight. `clock` is the executor's.
void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock,
                  std::vector<TimedEvent> events = {});

}  // namespace penstock
