// The grid of (chunk, history) over which a pipeline is measured, made to fit into a time.
//
// Chunks that differ in length at no history tell apart what a step, a token and the floor cost; the same
// chunks after histories of 1/4, 1/2 and 1 of the longest sequence tell what attention costs; decode tokens
// are counted by number and by context. What would take too long for the budget is left out, the longest
// steps first, whether it is the chunk or the history that makes them long: the model extrapolates from the
// rest.
//
// Pure functions.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/calibration_steps.h"
#include "plan/cost_model.h"

namespace penstock {

inline constexpr int kCalibrationRepeats = 3;

// 16, 32, 64, … and `max_chunk`.
std::vector<int32_t> ChunkLadder(int32_t max_chunk);

// The time of a step as far as it can be guessed from `rough`, a model of a few steps; microseconds.
double GuessUs(const CostModel& rough, const CalibrationShape& shape);

// Shapes whose guessed times, `kCalibrationRepeats` times each, are at most `budget_us` together: those of at
// most a certain time, the largest that fits. Never empty: the cheapest is always in. In no order.
std::vector<CalibrationShape> DesignGrid(const CalibrationSteps& steps, int32_t block_size,
                                         const CostModel& rough, double budget_us);

}  // namespace penstock
