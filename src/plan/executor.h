// Executor: what executes steps. The pipeline of stages (pipeline/) in the product; a cost model in virtual
// time (sim/) in tests and in the simulator.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/status.h"
#include "plan/step.h"

namespace penstock {

// What the first stage has before it.
struct FirstStageLoad {
  int32_t num_steps = 0;            // submitted, and not ended there; it works on the oldest of them
  std::optional<int64_t> begin_us;  // when it began with that one, by the clock of the stamps
};

class Executor {
 public:
  virtual ~Executor() = default;

  // Number of stages: a step passes all of them before its result is there.
  virtual int num_stages() const = 0;

  // Hands over a step; never waits. Results come in the order of submission. Ids of steps count from 1; they
  // may begin again at 1 while none is in flight.
  virtual void Submit(std::unique_ptr<Step> step) = 0;

  // The next result, or null if none is there yet; never waits.
  virtual std::unique_ptr<StepResult> Poll() = 0;

  // What has reached the first stage and not passed it. An executor that cannot tell says that there is
  // nothing: then steps are submitted as soon as they can be.
  virtual FirstStageLoad FirstStage() const { return {}; }

  // `notify` is called, from any thread, whenever Poll() may have something, and when the first stage has
  // ended a step that took some time. Set while no step is in flight; the one before it may still be called
  // once.
  virtual void SetNotify(std::function<void()> notify) = 0;

  // Why no step can be executed any more (kUnavailable), as the results of steps then say too. From any
  // thread.
  virtual Status Failure() const { return OkStatus(); }

  // A hint: stages that have not yet begun a chunk of this sequence may skip it. The results of steps in
  // flight still come (StepResult::skipped names the sequence); only then may the sequence's blocks be used
  // again.
  virtual void Cancel(SeqId seq) = 0;
};

}  // namespace penstock
