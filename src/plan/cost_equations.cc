// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_equations.h"

#include "base/check.h"

namespace penstock {
namespace {

constexpr int kTokenTerm = 1;
constexpr double kLeastUs = 0.1;
constexpr double kMostUs = 1.2e12;  // a fortnight
constexpr double kMostWork = 1e18;  // pairs of a billion tokens
constexpr double kMostWeight = 1e6;

// Where steps all have one sequence, its cost and the step's cannot be told apart; on chunks of one length,
// nor can history's and pairs'. Then it is the latter, of which more is known to exist.
constexpr CostTerms kRidge = {1, 1, 1, 10, 30, 1, 1};

bool IsWork(double value) { return value >= 0 && value <= kMostWork; }

double TokenTerm(double tokens, double knee) {
  return StageCost{.token_us = 1, .floor_us = knee}.Predict({.tokens = tokens});
}

}  // namespace

double KneeOf(const StageCost& cost) { return cost.token_us > 0 ? cost.floor_us / cost.token_us : 0; }

CostTerms CoefficientsOf(const StageCost& cost) {
  const double floor_us = cost.token_us > 0 ? 0 : cost.floor_us;
  return {cost.step_us + floor_us, cost.token_us,         cost.pair_us, cost.history_us, cost.seq_us,
          cost.decode_token_us,    cost.decode_context_us};
}

StageCost CostOf(const CostTerms& coefficients, double knee) {
  return {.step_us = coefficients[0],
          .token_us = coefficients[kTokenTerm],
          .floor_us = coefficients[kTokenTerm] * knee,
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

CostEquations::CostEquations(const std::vector<double>& knees) : columns_(knees.size()) {
  for (size_t i = 0; i < knees.size(); ++i) columns_[i].knee = knees[i];
}

void CostEquations::Add(const StepWork& work, double time_us, double unit_us, double weight) {
  const double per_unit = 1 / unit_us;
  CostTerms row = {1, 0, work.pairs, work.history, work.seqs, work.decode_tokens, work.decode_context};
  for (double& term : row) term *= per_unit;
  const double target = time_us * per_unit;
  sums_.AddRow(row, target, weight);
  for (TokenColumn& column : columns_) {
    const double term = TokenTerm(work.tokens, column.knee) * per_unit;
    const double weighted = weight * term;
    for (int i = 0; i < kMaxUnknowns; ++i) column.a[i] += weighted * row[i];
    column.a[kTokenTerm] += weighted * term;
    column.b += weighted * target;
  }
  sum_weights_ += weight;
  sum_squares_ += weight * target * target;
}

void CostEquations::Add(const CostEquations& other) {
  CHECK_EQ(num_knees(), other.num_knees());
  for (int i = 0; i < kMaxUnknowns; ++i) {
    for (int j = 0; j < kMaxUnknowns; ++j) sums_.a[i][j] += other.sums_.a[i][j];
    sums_.b[i] += other.sums_.b[i];
  }
  for (size_t k = 0; k < columns_.size(); ++k) {
    for (int i = 0; i < kMaxUnknowns; ++i) columns_[k].a[i] += other.columns_[k].a[i];
    columns_[k].b += other.columns_[k].b;
  }
  sum_weights_ += other.sum_weights_;
  sum_squares_ += other.sum_squares_;
}

void CostEquations::Forget(double factor) {
  for (UnknownVector& row : sums_.a) {
    for (double& value : row) value *= factor;
  }
  for (double& value : sums_.b) value *= factor;
  for (TokenColumn& column : columns_) {
    for (double& value : column.a) value *= factor;
    column.b *= factor;
  }
  sum_weights_ *= factor;
  sum_squares_ *= factor;
}

// Terms / unit fall, and times / unit stay.
void CostEquations::ScaleTimes(double factor) {
  const double once = 1 / factor, twice = once / factor;
  for (UnknownVector& row : sums_.a) {
    for (double& value : row) value *= twice;
  }
  for (double& value : sums_.b) value *= once;
  for (TokenColumn& column : columns_) {
    for (double& value : column.a) value *= twice;
    column.b *= once;
  }
}

CostEquations CostEquations::At(size_t idx) const {
  CostEquations one({knee(idx)});
  one.sums_ = sums_;
  one.columns_[0] = columns_[idx];
  one.sum_weights_ = sum_weights_;
  one.sum_squares_ = sum_squares_;
  return one;
}

CostEquations::Solution CostEquations::Solve(size_t idx, const CostTerms& prior, double ridge) const {
  const TokenColumn& column = columns_[idx];
  NormalEquations sums = sums_;
  for (int i = 0; i < kNumCostTerms; ++i) sums.a[i][kTokenTerm] = sums.a[kTokenTerm][i] = column.a[i];
  sums.b[kTokenTerm] = column.b;

  NormalEquations pulled = sums;
  double pull_squares = 0;
  for (int i = 0; i < kNumCostTerms; ++i) {
    // The mean square of the term, so that the pull is the same in every unit.
    const double pull = sum_weights_ > 0 ? ridge * kRidge[i] * sums.a[i][i] / sum_weights_ : 0;
    pulled.a[i][i] += pull;
    pulled.b[i] += pull * prior[i];
    pull_squares += pull * prior[i] * prior[i];
  }
  const UnknownVector x = SolveNonNegative(pulled);
  Solution solution{.knee = column.knee};
  for (int i = 0; i < kNumCostTerms; ++i) solution.coefficients[i] = sums.a[i][i] > 0 ? x[i] : prior[i];
  solution.objective = pulled.Objective(x) + sum_squares_ + pull_squares;
  return solution;
}

}  // namespace penstock
