// StageEstimator: the cost of one stage, kept up to date from its steps.
//
//   grid (for ever)  +  history (sums, forgetting)  +  window (the last steps, one by one)  ──▶  cost()
//
// A step stays in the window until it can be judged by a model that has seen those around it, and then goes
// into the sums with the weight that it deserves (Huber). The sums are kept for a row of knees, so that the
// knee too can be found anew without the samples.
//
// When all prompts in the window took so many times longer than expected, whatever their size, the machine's
// speed has changed: grid and history are scaled. When the window is off in another way, history is forgotten
// faster for a while; the grid never is. A model that is off by far loses its history, and without a
// grid is begun anew.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "plan/cost_equations.h"

namespace penstock {

class StageEstimator {
 public:
  static constexpr int kWindow = 64;

  explicit StageEstimator(double half_life_steps);

  // The samples are the grid from now on, instead of any before, and history begins anew; the window stays.
  // False, and nothing changed, where they cannot be fitted.
  bool SetGrid(std::span<const CostSample> samples);
  // The same with the fit given. REQUIRES: cost.IsSound().
  void SetGrid(std::span<const CostSample> samples, const StageCost& cost);

  // REQUIRES: IsUsable(sample).
  void OnStep(const CostSample& sample);

  // Finds the cost anew; what was found before stays where that fails. Without a grid it begins with the
  // first dozen steps.
  void Refit();

  bool known() const { return cost_.IsSound(); }
  const StageCost& cost() const { return cost_; }
  std::span<const CostSample> window() const { return window_; }  // in no order

 private:
  void Begin(const StageCost& cost);
  double ExpectedUs(const StepWork& work) const;
  void AddTo(CostEquations* equations, const CostSample& sample) const;
  void SearchKnee();
  void FollowChange();
  bool FollowSpeed();
  std::vector<double> LogRatios(bool prompts_only) const;

  const double forget_per_step_;
  CostEquations grid_{{}};
  CostEquations history_{{}};  // the same knees
  size_t knee_idx_ = 0;        // the one in use
  CostTerms prior_{};          // for what the samples leave open
  StageCost cost_;
  double sigma_ = 0.05;  // of the noise of late, relative
  int64_t num_refits_ = 0;
  int following_ = 0;  // refits left in which a change that was seen is followed
  int forgets_left_ = 0;
  std::vector<CostSample> window_;  // once full, a ring
  size_t oldest_ = 0;
};

}  // namespace penstock
