// CostEstimator: the cost model of a running pipeline, kept up to date from the stamps of every step.
//
// It starts from a prior (a start-up grid, or a saved fit) and is refined by recursive least squares with
// forgetting: old steps lose their weight with a half-life counted in steps, the grid keeps its own, so that
// one kind of traffic (which determines few coefficients) cannot wash out what it says nothing about. A step
// counts for nothing where its shape is the first of its kind (cold caches), and for less the more it
// deviates from what was expected (Huber).
//
// The host's gap, that is the time in which a stage had a step before it and did not work on it, is measured
// beside the stages' own times and added to the constant per step: chunks cost it too.
//
// Bad timings (constant, negative, NaN, absurd) never make the published model unsound. Single-threaded, no
// clock.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "plan/cost_fit.h"
#include "plan/cost_model.h"
#include "plan/step.h"

namespace penstock {

struct EstimatorOptions {
  double half_life_steps = 500;
  double publish_threshold = 0.02;  // predictions must change by this share before a new model is published
};

class CostEstimator {
 public:
  explicit CostEstimator(int num_stages, EstimatorOptions options = {});
  ~CostEstimator();

  // Samples of the start-up grid, [num_stages] lists: the prior from now on. Returns whether every stage
  // could be fitted; the others keep what they had.
  bool SetGrid(std::span<const std::vector<CostSample>> grid);
  // A model from elsewhere (a saved fit) as prior. REQUIRES: [num_stages], sound.
  void SetPrior(const CostModel& prior);

  // A step that has come back, with its stamps in the order of stages, one for each. Ignored if they are not
  // that.
  void OnStep(const StepWork& work, std::span<const StageStamp> stamps);

  // The model to plan with; not known until there is a prior or enough steps of different shapes.
  const CostModel& model() const;
  // The same without the host's gap, which is the run's own: for saving, and SetPrior() of the next run.
  CostModel ModelToSave() const;
  // Counts the models published so far; planners look for changes here.
  int64_t version() const;

  // Error over the steps of late: on each, the stage's that was predicted to be the slowest, by the model of
  // that time.
  FitQuality recent_quality() const;
  // Median host gap per hop of late, microseconds: the mean over the stages.
  double hop_gap_us() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock
