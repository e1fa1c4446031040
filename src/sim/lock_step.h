// LockStep: replicas whose experts are spread over all of them, so that a layer of one needs the others:
// their steps begin together, and take as long as the one that takes longest. A replica that has nothing to
// do takes part with an empty step.
//
// Each replica submits to its port. A step waits there until the group's last one has left the first stage.
//
// Single-threaded.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "plan/executor.h"
#include "sim/sim_executor.h"
#include "sim/virtual_clock.h"

namespace penstock {

// Microseconds on a stage of the steps that replicas do together; null where one has none.
using JointStepCost = std::function<int64_t(std::span<const Step* const> steps, int stage)>;

class LockStep {
 public:
  LockStep(int num_replicas, int num_stages, JointStepCost cost, const VirtualClock& clock);

  // How the executor of a replica knows its times: SimConfig::cost.
  StepCost CostOf(int replica);
  // Where that replica's engine submits to. `executor` outlives it.
  std::unique_ptr<Executor> MakePort(int replica, SimExecutor& executor);

  // Begins the next common step where it is due and there is one; whether it did. Called when all engines
  // have had their turn at this time.
  bool BeginDue();
  // When the next one is due; nothing where no step waits.
  std::optional<int64_t> NextEventUs() const;

 private:
  class Port;
  struct Member {
    SimExecutor* executor = nullptr;
    std::deque<std::unique_ptr<Step>> waiting;
    std::map<uint64_t, std::vector<int64_t>> times_us;  // [num_stages] of each step that has begun
  };

  const int num_stages_;
  const JointStepCost cost_;
  const VirtualClock& clock_;
  std::vector<Member> members_;
  int64_t free_us_ = 0;  // when the first stage has ended the last common step
};

}  // namespace penstock
