// SPDX-License-Identifier: Apache-2.0
#include "sim/run_until_idle.h"

#include <algorithm>
#include <utility>

namespace penstock {
namespace {

class KnownEvents : public EventSource {
 public:
  explicit KnownEvents(std::vector<TimedEvent> events) : events_(std::move(events)) {}

  std::optional<int64_t> NextUs() const override {
    if (next_ == events_.size()) return std::nullopt;
    return events_[next_].time_us;
  }
  void HappenNext(EngineCore& core, int64_t now_us) override { events_[next_++].happen(core, now_us); }

 private:
  const std::vector<TimedEvent> events_;
  size_t next_ = 0;
};

}  // namespace

void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock, EventSource& source) {
  for (;;) {
    std::optional<int64_t> event_us;
    while ((event_us = source.NextUs()) && *event_us <= clock.now_us())
      source.HappenNext(core, clock.now_us());
    core.Tick(clock.now_us());
    event_us = source.NextUs();
    std::optional<int64_t> next_us = executor.NextEventUs();
    if (event_us) next_us = std::min(next_us.value_or(*event_us), *event_us);
    if (core.NextWakeUs() != SubmitPacer::kNever) {
      next_us = std::min(next_us.value_or(core.NextWakeUs()), core.NextWakeUs());
    }
    if (!next_us) return;
    clock.AdvanceTo(std::max(*next_us, clock.now_us()));
  }
}

void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock,
                  std::vector<TimedEvent> events) {
  KnownEvents source(std::move(events));
  RunUntilIdle(core, executor, clock, source);
}

}  // namespace penstock
