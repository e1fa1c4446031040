// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_equations.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr double kLeastUs = 0.1;
constexpr double kMostUs = 1.2e12;  // a fortnight
constexpr double kMostWork = 1e18;  // pairs of a billion tokens
constexpr double kMostWeight = 1e6;

// Where steps all have one sequence, its cost and the step's cannot be told apart; on chunks of one length,
// nor can history's and pairs'. Then it is the latter, of which more is known to exist.
constexpr CostTerms kRidge = {1, 1, 1, 10, 30, 1, 1};

bool IsWork(double value) { return value >= 0 && value <= kMostWork; }

}  // namespace

CostTerms TermsOf(const StepWork& work, double knee) {
  const double tokens = StageCost{.token_us = 1, .floor_us = knee}.Predict({.tokens = work.tokens});
  return {1, tokens, work.pairs, work.history, work.seqs, work.decode_tokens, work.decode_context};
}

double KneeOf(const StageCost& cost) { return cost.token_us > 0 ? cost.floor_us / cost.token_us : 0; }

CostTerms CoefficientsOf(const StageCost& cost) {
  const double floor_us = cost.token_us > 0 ? 0 : cost.floor_us;
  return {cost.step_us + floor_us, cost.token_us,         cost.pair_us, cost.history_us, cost.seq_us,
          cost.decode_token_us,    cost.decode_context_us};
}

StageCost CostOf(const CostTerms& coefficients, double knee) {
  return {.step_us = coefficients[0],
          .token_us = coefficients[1],
          .floor_us = coefficients[1] * knee,
          .pair_us = coefficients[2],
          .history_us = coefficients[3],
          .seq_us = coefficients[4],
          .decode_token_us = coefficients[5],
          .decode_context_us = coefficients[6]};
}

bool IsUsable(const CostSample& sample) {
  const StepWork& work = sample.work;
  return sample.time_us >= kLeastUs && sample.time_us <= kMostUs && sample.weight > 0 &&
         sample.weight <= kMostWeight && IsWork(work.tokens) && IsWork(work.pairs) && IsWork(work.history) &&
         IsWork(work.seqs) && IsWork(work.decode_tokens) && IsWork(work.decode_context);
}

void CostEquations::Add(const CostTerms& terms, double time_us, double unit_us, double weight) {
  CostTerms row;
  for (int i = 0; i < kNumCostTerms; ++i) row[i] = terms[i] / unit_us;
  const double target = time_us / unit_us;
  sums_.AddRow(row, target, weight);
  sum_weights_ += weight;
  sum_squares_ += weight * target * target;
}

void CostEquations::Add(const CostEquations& other) {
  for (int i = 0; i < kNumCostTerms; ++i) {
    for (int j = 0; j < kNumCostTerms; ++j) sums_.a[i][j] += other.sums_.a[i][j];
    sums_.b[i] += other.sums_.b[i];
  }
  sum_weights_ += other.sum_weights_;
  sum_squares_ += other.sum_squares_;
}

void CostEquations::Forget(double factor) {
  for (int i = 0; i < kNumCostTerms; ++i) {
    for (int j = 0; j < kNumCostTerms; ++j) sums_.a[i][j] *= factor;
    sums_.b[i] *= factor;
  }
  sum_weights_ *= factor;
  sum_squares_ *= factor;
}

void CostEquations::ScaleTimes(double factor) {
  for (int i = 0; i < kNumCostTerms; ++i) {
    for (int j = 0; j < kNumCostTerms; ++j) sums_.a[i][j] /= factor * factor;
    sums_.b[i] /= factor;
  }
}

CostEquations::Solution CostEquations::Solve(const CostTerms& prior, double ridge) const {
  NormalEquations with_ridge = sums_;
  UnknownVector pull{};
  double ridge_squares = 0;
  for (int i = 0; i < kNumCostTerms; ++i) {
    // The mean square of the term, so that the pull is the same in every unit.
    pull[i] = sum_weights_ > 0 ? ridge * kRidge[i] * sums_.a[i][i] / sum_weights_ : 0;
    with_ridge.a[i][i] += pull[i];
    with_ridge.b[i] += pull[i] * prior[i];
    ridge_squares += pull[i] * prior[i] * prior[i];
  }
  const UnknownVector x = SolveNonNegative(with_ridge);
  Solution solution;
  for (int i = 0; i < kNumCostTerms; ++i) solution.coefficients[i] = sums_.a[i][i] > 0 ? x[i] : prior[i];
  solution.objective = with_ridge.Objective(x) + sum_squares_ + ridge_squares;
  return solution;
}

}  // namespace penstock
