// Drives an EngineCore over a SimExecutor in virtual time, or several replicas of both.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine_core.h"
#include "sim/lock_step.h"
#include "sim/sim_executor.h"
#include "sim/virtual_clock.h"

namespace penstock {

// Something that happens to the engine at a time: a request comes, another is cancelled.
struct TimedEvent {
  int64_t time_us = 0;
  std::function<void(EngineCore& core, int64_t now_us)> happen;
};

// Where events come from that are not all known before: a client sends its next request when the last one has
// ended.
class EventSource {
 public:
  virtual ~EventSource() = default;
  // When something happens next; nothing where that is not known yet. A time that has passed means now.
  virtual std::optional<int64_t> NextUs() const = 0;
  // The replica that the first event is for.
  virtual size_t Replica() { return 0; }
  // Lets the first event happen. REQUIRES: NextUs() <= now_us; `core` is Replica()'s.
  virtual void HappenNext(EngineCore& core, int64_t now_us) = 0;
};

// Lets events happen when their time has come, and time pass, until no event is known and no step is in
// flight. `clock` is the executor's.
void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock, EventSource& source);

struct SimReplica {
  EngineCore* core = nullptr;
  SimExecutor* executor = nullptr;
};
// The same with several. `lock_step`: of their executors; null: they do not wait for each other.
void RunUntilIdle(std::span<const SimReplica> replicas, LockStep* lock_step, VirtualClock& clock,
                  EventSource& source);

// The same with events that are known. They must be in order.
void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock,
                  std::vector<TimedEvent> events = {});

}  // namespace penstock
