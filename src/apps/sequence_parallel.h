// From which size of a step sequence parallelism pays, by measurement.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "pipeline/pipeline.h"

namespace penstock {

// Steps of `tokens` tokens, both ways.
struct SequenceParallelTimes {
  int32_t tokens = 0;
  double without_us = 0;
  double with_us = 0;
};

// The smallest size from which on it is faster; nothing where it is not at the largest. By a line through
// what it gains, (without - with) / without, over 1 / tokens: what it costs more in each step is paid for by
// what it saves for each token. The line is Theil's and Sen's (medians of the slopes between all pairs, and
// of what is left), which a single size that was disturbed does not move. `times`: sizes rising.
std::optional<int32_t> SmallestPayingStep(std::span<const SequenceParallelTimes> times);

// Runs one step and says how long it took, in microseconds.
using TimeStep = std::function<Result<double>(int32_t tokens, bool sequence_parallel)>;

// Measures steps of 32, 64, … up to max_tokens tokens, each way in turn, the median of five, or of as many as
// can be, and stops before `budget_us` is spent, as far as one can tell.
Result<std::vector<SequenceParallelTimes>> TimeSequenceParallel(int32_t max_tokens, double budget_us,
                                                                const TimeStep& step_us);

// Where it is on, and there is tensor parallelism: sets one threshold for all pipelines, to what the operator
// says or as measured with steps of its own, and logs it. `executors` stand before the pipelines: where they
// run in lock step, all are given the same steps; else the first is measured. REQUIRES: no step in flight, no
// block in use.
Status ChooseSequenceParallel(const RunConfig& run, const EnginePlan& plan,
                              std::span<Pipeline* const> pipelines, std::span<Executor* const> executors);

}  // namespace penstock
