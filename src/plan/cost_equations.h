// The linear part of fitting a StageCost: with the knee given, a step's time is a sum of terms, each with a
// coefficient >= 0. The knee is the number of tokens at which they begin to cost: floor_us / token_us.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "plan/cost_fit.h"
#include "plan/cost_model.h"
#include "plan/nnls.h"

namespace penstock {

// Of: the step, soft_max(tokens, knee), pairs, history, seqs, decode_tokens, decode_context.
inline constexpr int kNumCostTerms = 7;
using CostTerms = std::array<double, kNumCostTerms>;

CostTerms TermsOf(const StepWork& work, double knee);

// The coefficients of a cost, and back. A cost with a floor but no cost per token has knee 0, and its floor
// in the coefficient of the step.
double KneeOf(const StageCost& cost);
CostTerms CoefficientsOf(const StageCost& cost);
StageCost CostOf(const CostTerms& coefficients, double knee);

// Time, work and weight are finite and within what a machine can do (a microsecond to a fortnight), so that
// no sum over samples overflows.
bool IsUsable(const CostSample& sample);

// Σ weight * ((coefficients · terms - time) / unit)²
class CostEquations {
 public:
  // unit: > 0, about the time that is expected: makes the error relative.
  void Add(const CostTerms& terms, double time_us, double unit_us, double weight);
  void Add(const CostEquations& other);
  void Forget(double factor);      // all weights times factor
  void ScaleTimes(double factor);  // as if all times (and units) had been measured so many times longer

  double sum_weights() const { return sum_weights_; }

  struct Solution {
    CostTerms coefficients{};
    double objective = 0;  // the sum above, and the ridge's share
  };
  // With all coefficients >= 0. `ridge` is the pull towards the prior: how many times noise² it takes to
  // move a coefficient whose term makes up the whole time; it decides where the samples do not. A
  // coefficient whose term is 0 in all samples is the prior's.
  Solution Solve(const CostTerms& prior, double ridge) const;

 private:
  NormalEquations sums_{.num_unknowns = kNumCostTerms};
  double sum_weights_ = 0;
  double sum_squares_ = 0;  // Σ weight * (time / unit)²
};

}  // namespace penstock
