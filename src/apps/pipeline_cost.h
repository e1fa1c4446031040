// How fast the pipeline is: from the saved measurement, or measured now.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "apps/saved_cost_model.h"
#include "base/status.h"
#include "engine/engine.h"
#include "plan/cost_fit.h"
#include "plan/cost_model.h"
#include "plan/executor.h"

namespace penstock {

struct PipelineCost {
  CostModelKey key;
  std::string path;                           // of the file; empty: none
  CostModel model;                            // not known where nothing was measured
  FitQuality quality;                         // of the fit to its samples, the worst stage's
  std::vector<std::vector<CostSample>> grid;  // where it was measured now: [num_stages]
  double seconds = 0;                         // that it took
};

// Reads the file or calibrates `executor`, as --calibration says, with a bar and lines in the log; saves what
// it has measured. A calibration that fails is a warning, unless the executor is gone: kUnavailable.
Result<PipelineCost> ObtainPipelineCost(const RunConfig& run, const EnginePlan& plan, Executor& executor);

// Saves what the engine has learnt while it served, if that is more than is in the file. Logs what it did.
// `fewest_steps`: whose predictions could be compared with what they took.
void SaveLearntCost(const PipelineCost& cost, const EngineStats& stats, int32_t fewest_steps = 100);

// The error of a model over samples of each stage: the worst stage's.
FitQuality WorstFit(const CostModel& model, const std::vector<std::vector<CostSample>>& samples);

}  // namespace penstock
