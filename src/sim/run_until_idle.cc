// SPDX-License-Identifier: Apache-2.0
#include "sim/run_until_idle.h"

#include <algorithm>
#include <optional>

namespace penstock {

void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock,
                  std::vector<TimedEvent> events) {
  auto event = events.begin();
  for (;;) {
    for (; event != events.end() && event->time_us <= clock.now_us(); ++event)
      event->happen(core, clock.now_us());
    core.Tick(clock.now_us());
    std::optional<int64_t> next_us = executor.NextEventUs();
    if (core.NextWakeUs() != SubmitPacer::kNever) {
      next_us = std::min(next_us.value_or(core.NextWakeUs()), core.NextWakeUs());
    }
    if (event != events.end()) next_us = std::min(next_us.value_or(event->time_us), event->time_us);
    if (!next_us) return;
    clock.AdvanceTo(std::max(*next_us, clock.now_us()));
  }
}

}  // namespace penstock
