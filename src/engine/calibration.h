// Calibration: how fast the pipeline is, measured with real steps before it serves.
//
//   warm-up, then ever longer chunks and histories ─▶ rough model ─▶ grid that fits the budget
//   the grid three times over ─▶ medians ─▶ samples for the cost model
//
// The grid's steps follow one another through the pipeline without a pause, num_stages + 1 at a time, as they
// do when a long prompt is served: P stages are calibrated in about the time of one, and what stages take
// from each other (memory bandwidth, shared caches) is in the times as it will be in those to be predicted.
// Each stage's time is from its own begin to its own end, so waiting for a neighbour is not in it.
//
// Calibrator has no clock and waits for nothing; RunCalibration() does.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "engine/calibration_grid.h"
#include "engine/calibration_steps.h"
#include "plan/cost_fit.h"
#include "plan/executor.h"

namespace penstock {

struct CalibrationOptions {
  int num_stages = 1;
  CalibrationLimits limits;
  int64_t budget_us = 12'000'000;  // about how long it may take
  uint64_t seed = 0;
};

class Calibrator {
 public:
  explicit Calibrator(const CalibrationOptions& options);

  // The next step to submit, or null where a result must come first, or none is needed any more.
  std::unique_ptr<Step> Next();
  // Results come in the order of steps. A step that has failed ends the calibration with its error.
  void OnResult(const StepResult& result);
  // All steps are back and no more are needed.
  bool done() const { return in_flight_.empty() && phase_ == Phase::kDone; }
  const Status& status() const { return status_; }
  int num_stages() const { return options_.num_stages; }

  // Time that steps have taken so far, and that all of them will take as far as one can tell.
  int64_t spent_us() const { return spent_us_; }
  int64_t total_us() const;

  // [num_stages] lists, one sample for each shape; empty where there was nothing to measure.
  std::vector<std::vector<CostSample>> Samples() const;
  int32_t num_steps() const { return num_steps_; }

 private:
  enum class Phase { kChunks, kHistories, kDecodes, kGrid, kDone };
  struct Measured {
    CalibrationShape shape;
    std::vector<std::vector<double>> times_us;  // [num_stages][repeats]
  };
  struct InFlight {
    CalibrationShape shape;
    size_t measured_idx;  // kNotMeasured: a step to warm up
  };

  void ProbeNextChunk();
  void ProbeNextHistory();
  bool TryHistory(const ChunkShape& shape);
  void ProbeDecodes();
  void BeginGrid();
  void Probe(const CalibrationShape& shape, bool is_warm_up = false);
  void EndIfTooLong();

  const CalibrationOptions options_;
  CalibrationSteps steps_;
  Phase phase_ = Phase::kChunks;
  std::vector<Measured> probes_;
  std::vector<Measured> grid_;
  std::deque<InFlight> waiting_;  // to be submitted
  std::deque<InFlight> in_flight_;
  size_t next_ladder_ = 0;           // of the chunks, then of the histories
  std::optional<int64_t> begin_us_;  // of the first step
  int64_t spent_us_ = 0;
  double left_us_ = 0;  // guessed, of the grid's steps that are not back
  CostModel rough_;
  int32_t num_steps_ = 0;
  Status status_;
};

// Calibrates `executor`, which has no step in flight, and returns when it has none again. `on_progress` is
// called after each step.
Status RunCalibration(Executor& executor, Calibrator& calibrator,
                      const std::function<void(int64_t spent_us, int64_t total_us)>& on_progress);

}  // namespace penstock
