// The linear part of fitting a StageCost: with the knee given, a step's time is a sum of terms, each with a
// coefficient >= 0. The knee is the number of tokens at which they begin to cost: floor_us / token_us.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "plan/cost_fit.h"
#include "plan/cost_model.h"
#include "plan/nnls.h"

namespace penstock {

// Of: the step, soft_max(tokens, knee), pairs, history, seqs, decode_tokens, decode_context.
inline constexpr int kNumCostTerms = 7;
using CostTerms = UnknownVector;  // [kNumCostTerms], then 0s

// The coefficients of a cost, and back. A cost with a floor but no cost per token has knee 0, and its floor
// in the coefficient of the step.
double KneeOf(const StageCost& cost);
CostTerms CoefficientsOf(const StageCost& cost);
StageCost CostOf(const CostTerms& coefficients, double knee);

// Time, work and weight are finite and within what a machine can do (a fortnight at most), so that no sum
// over samples overflows.
bool IsUsable(const CostSample& sample);

// Σ weight * ((coefficients · terms - time) / unit)², for each of a row of knees.
class CostEquations {
 public:
  explicit CostEquations(const std::vector<double>& knees);

  // unit: > 0, about the time that is expected: makes the error relative.
  void Add(const StepWork& work, double time_us, double unit_us, double weight);
  void Add(const CostEquations& other);  // REQUIRES: the same knees
  void Forget(double factor);            // all weights times factor
  void ScaleTimes(double factor);        // as if all times, and units, had been so many times longer

  size_t num_knees() const { return columns_.size(); }
  double knee(size_t idx) const { return columns_[idx].knee; }
  double sum_weights() const { return sum_weights_; }
  CostEquations At(size_t idx) const;  // for that knee alone

  struct Solution {
    double knee = 0;
    CostTerms coefficients{};
    double objective = 0;  // the sum above, and the ridge's share

    StageCost cost() const { return CostOf(coefficients, knee); }
  };
  // With all coefficients >= 0. `ridge` is the pull towards the prior: as one sample of that weight, for a
  // term that makes up the whole time; it decides where the samples do not. A coefficient whose term is 0 in
  // all samples is the prior's.
  Solution Solve(size_t idx, const CostTerms& prior, double ridge) const;

 private:
  // All that depends on the knee: the row (and column) of the tokens' term.
  struct TokenColumn {
    double knee = 0;
    UnknownVector a{};
    double b = 0;
  };

  NormalEquations sums_{.num_unknowns = kNumCostTerms};  // the tokens' row and column are 0
  std::vector<TokenColumn> columns_;                     // [num_knees]
  double sum_weights_ = 0;
  double sum_squares_ = 0;  // Σ weight * (time / unit)²
};

}  // namespace penstock
