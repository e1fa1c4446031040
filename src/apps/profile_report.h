// ProfileReport: what `bench latency --profile` adds: for every stage and kind of step, which operations took
// the time, how near each came to the machine's limits, and where the rest was lost.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "apps/engine_plan.h"
#include "base/json.h"
#include "kernels/peak.h"
#include "kernels/profile/op_profile.h"

namespace penstock {

struct StageProfile {
  std::string layers;  // "layers 0-27, core 0"
  Peaks peaks;
  std::array<PhaseProfile, kNumStepKinds> phases;
};

// One row of the table.
struct OpRow {
  std::string op;     // "Linear"
  std::string shape;  // "1024x4096 bf16"; may be empty
  int64_t calls = 0;
  double seconds = 0;
  double share = 0;          // of the steps' time
  double gflops = 0;         // rate; 0: no arithmetic
  double share_of_peak = 0;  // 0: no arithmetic, or no peak known
  double gb_per_s = 0;
  double lost_share = 0;  // of the steps' time: what is beyond the arithmetic at its peak
};

// The longest first. The last row is "between operations".
std::vector<OpRow> OpRows(const PhaseProfile& phase, const Peaks& peaks);

// Time that the arithmetic would take at its peak, over the steps' time: 0 … 1.
double ShareOfRoof(const PhaseProfile& phase, const Peaks& peaks);

std::string ProfileText(std::span<const StageProfile> stages);
Json ProfileJson(std::span<const StageProfile> stages);

// Of each stage on its cores, all stages at once, as they run. Takes about a second.
std::vector<Peaks> MeasureStagePeaks(const EnginePlan& plan);

}  // namespace penstock
