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

// The smallest size from which on it is faster at every size; nothing where it is not at the largest.
// `times`: sizes rising.
std::optional<int32_t> SmallestPayingStep(std::span<const SequenceParallelTimes> times);

// Runs one step and says how long it took, in microseconds.
using TimeStep = std::function<Result<double>(int32_t tokens, bool sequence_parallel)>;

// Measures steps of 32, 64, … up to max_tokens tokens, each way in turn, the best of three, and stops before
// `budget_us` is spent, as far as one can tell.
Result<std::vector<SequenceParallelTimes>> TimeSequenceParallel(int32_t max_tokens, double budget_us,
                                                                const TimeStep& step_us);

// Where it is on, and there is tensor parallelism: sets the pipeline's threshold, to what the operator says
// or as measured with steps of its own, and logs it. REQUIRES: no step in flight, no block in use.
Status ChooseSequenceParallel(const RunConfig& run, const EnginePlan& plan, Pipeline& pipeline);

}  // namespace penstock
