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

void RunUntilIdle(std::span<const SimReplica> replicas, LockStep* lock_step, VirtualClock& clock,
                  EventSource& source) {
  for (;;) {
    std::optional<int64_t> next_us;
    while ((next_us = source.NextUs()) && *next_us <= clock.now_us())
      source.HappenNext(*replicas[source.Replica()].core, clock.now_us());
    for (const SimReplica& replica : replicas) replica.core->Tick(clock.now_us());
    if (lock_step != nullptr && lock_step->BeginDue()) continue;

    next_us = source.NextUs();
    const auto consider = [&](std::optional<int64_t> event_us) {
      if (event_us && (!next_us || *event_us < *next_us)) next_us = event_us;
    };
    for (const SimReplica& replica : replicas) {
      consider(replica.executor->NextEventUs());
      if (replica.core->NextWakeUs() != SubmitPacer::kNever) consider(replica.core->NextWakeUs());
    }
    if (lock_step != nullptr) consider(lock_step->NextEventUs());
    if (!next_us) return;
    clock.AdvanceTo(std::max(*next_us, clock.now_us()));
  }
}

void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock, EventSource& source) {
  const SimReplica replica = {&core, &executor};
  RunUntilIdle({&replica, 1}, nullptr, clock, source);
}

void RunUntilIdle(EngineCore& core, SimExecutor& executor, VirtualClock& clock,
                  std::vector<TimedEvent> events) {
  KnownEvents source(std::move(events));
  RunUntilIdle(core, executor, clock, source);
}

}  // namespace penstock
