// SPDX-License-Identifier: Apache-2.0
#include "plan/stage_estimator.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "plan/quantile.h"

namespace penstock {
namespace {

constexpr size_t kLeastToBegin = 12;
constexpr double kFirstKnee = 4, kLastKnee = 40000, kKneeRatio = 1.41421356;
constexpr int kRefitsPerSearch = 8;
constexpr double kSignificant = 9;  // sigma² by which another knee must be better: it is not changed lightly

constexpr double kLeastUs = 0.1;
constexpr double kHuber = 3;  // deviations beyond so many sigma lose weight
constexpr double kLeastSigma = 0.01, kMostSigma = 0.5;
constexpr double kMostRatio =
    10;  // of measured and expected; what lies beyond would cost the sums their digits

// The median over the window of |log(measured / expected)| that shows a change, that is left when it has been
// followed, and that makes all of history worthless.
constexpr double kChange = 0.1, kFollowed = 0.02, kWorthless = 2;
constexpr int kRefitsToFollow = 16;
constexpr int kForgets = 4;
constexpr double kForget = 0.25;

// A change of speed: those logs spread no more than this over the window's prompts, whose expected times
// differ by this factor at least.
constexpr double kUniform = 0.1, kSizes = 1.5;
constexpr size_t kLeastPrompts = StageEstimator::kWindow / 2;

bool IsPrompt(const StepWork& work) { return work.tokens >= 2 * work.decode_tokens; }

}  // namespace

StageEstimator::StageEstimator(double half_life_steps)
    : forget_per_step_(std::exp2(-1 / std::max(half_life_steps, 1.0))) {
  window_.reserve(kWindow);
}

// ---- What it begins with ---------------------------------------------------------------

bool StageEstimator::SetGrid(std::span<const CostSample> samples) {
  const StageFit fit = FitStageCost(samples, cost_);
  if (fit.ok) SetGrid(samples, fit.cost);
  return fit.ok;
}

void StageEstimator::SetGrid(std::span<const CostSample> samples, const StageCost& cost) {
  CHECK(cost.IsSound());
  Begin(cost);
  sigma_ = std::clamp(1.4826 * MeasureFit(cost, samples).median_error, kLeastSigma, kMostSigma);
  for (const CostSample& sample : samples) {
    if (IsUsable(sample)) AddTo(&grid_, sample);
  }
}

void StageEstimator::Begin(const StageCost& cost) {
  cost_ = cost;
  prior_ = CoefficientsOf(cost);
  std::vector<double> knees = {KneeOf(cost), 0};
  for (double knee = kFirstKnee; knee < kLastKnee; knee *= kKneeRatio) knees.push_back(knee);
  grid_ = history_ = CostEquations(knees);
  knee_idx_ = 0;
}

// ---- Steps -----------------------------------------------------------------------------

void StageEstimator::OnStep(const CostSample& sample) {
  if (window_.size() < kWindow) {
    window_.push_back(sample);
    return;
  }
  if (known()) {
    history_.Forget(forget_per_step_);
    AddTo(&history_, window_[oldest_]);
  }
  window_[oldest_] = sample;
  oldest_ = (oldest_ + 1) % kWindow;
}

double StageEstimator::ExpectedUs(const StepWork& work) const {
  return std::max(cost_.Predict(work), kLeastUs);
}

// In relative error, with the weight that the present cost gives it.
void StageEstimator::AddTo(CostEquations* equations, const CostSample& sample) const {
  const double expected = ExpectedUs(sample.work);
  const double time = std::clamp(sample.time_us, expected / kMostRatio, expected * kMostRatio);
  const double deviation = std::abs(time - expected) / expected;
  const double weight = sample.weight * std::min(1.0, kHuber * sigma_ / std::max(deviation, 1e-12));
  equations->Add(sample.work, time, expected, weight);
}

// ---- Solving ---------------------------------------------------------------------------

void StageEstimator::Refit() {
  if (!known()) {
    if (window_.size() < kLeastToBegin) return;
    const StageFit fit = FitStageCost(window_);
    if (fit.ok) Begin(fit.cost);
    return;
  }
  std::vector<double> deviations = LogRatios(false);
  for (double& value : deviations) value = std::abs(value);
  if (deviations.size() >= kLeastToBegin) {
    sigma_ = std::clamp(1.4826 * Quantile(deviations, 0.5), kLeastSigma, kMostSigma);
  }
  if (++num_refits_ % kRefitsPerSearch == 0) SearchKnee();
  CostEquations all = history_.At(knee_idx_);
  all.Add(grid_.At(knee_idx_));
  for (const CostSample& sample : window_) AddTo(&all, sample);
  const StageCost next = all.Solve(0, prior_, sigma_ * sigma_).cost();
  if (next.IsSound()) cost_ = next;
  FollowChange();
}

void StageEstimator::SearchKnee() {
  CostEquations all = history_;
  all.Add(grid_);
  for (const CostSample& sample : window_) AddTo(&all, sample);
  const double ridge = sigma_ * sigma_;
  double least = all.Solve(knee_idx_, prior_, ridge).objective - kSignificant * ridge;
  for (size_t i = 0; i < all.num_knees(); ++i) {
    const double objective = all.Solve(i, prior_, ridge).objective;
    if (objective >= least) continue;
    least = objective;
    knee_idx_ = i;
  }
}

// ---- Changes that last -----------------------------------------------------------------

std::vector<double> StageEstimator::LogRatios(bool prompts_only) const {
  std::vector<double> ratios;
  for (const CostSample& sample : window_) {
    if (prompts_only && !IsPrompt(sample.work)) continue;
    const double ratio = sample.time_us / ExpectedUs(sample.work);
    ratios.push_back(std::log(std::clamp(ratio, 1 / kMostRatio, kMostRatio)));
  }
  return ratios;
}

void StageEstimator::FollowChange() {
  if (window_.size() < kWindow) return;
  const double change = std::abs(Quantile(LogRatios(false), 0.5));
  if (change > kWorthless) {
    history_.Forget(0);
    if (grid_.sum_weights() == 0) {
      if (const StageFit fit = FitStageCost(window_); fit.ok) Begin(fit.cost);
      return;
    }
  }
  if (change < kFollowed) forgets_left_ = kForgets;
  if (change >= kChange) following_ = kRefitsToFollow;
  if (following_ == 0) return;
  following_ = change < kFollowed ? 0 : following_ - 1;
  if (following_ == 0 || FollowSpeed() || forgets_left_ == 0) return;
  --forgets_left_;
  history_.Forget(kForget);
}

bool StageEstimator::FollowSpeed() {
  std::vector<double> ratios = LogRatios(true);
  if (ratios.size() < kLeastPrompts) return false;
  const double change = Quantile(ratios, 0.5);
  for (double& ratio : ratios) ratio = std::abs(ratio - change);
  const double spread = 1.4826 * Quantile(ratios, 0.5);
  if (std::abs(change) < kFollowed || spread > std::max(std::abs(change) / 2, kUniform)) return false;
  std::vector<double> expected;
  for (const CostSample& sample : window_) {
    if (IsPrompt(sample.work)) expected.push_back(ExpectedUs(sample.work));
  }
  if (Quantile(expected, 0.9) < kSizes * Quantile(expected, 0.1)) return false;

  const double factor = std::exp(change);
  CostTerms coefficients = CoefficientsOf(cost_);
  for (double& coefficient : coefficients) coefficient *= factor;
  const StageCost next = CostOf(coefficients, KneeOf(cost_));
  if (!next.IsSound()) return false;
  cost_ = next;
  for (double& coefficient : prior_) coefficient *= factor;
  grid_.ScaleTimes(factor);
  history_.ScaleTimes(factor);
  return true;
}

}  // namespace penstock
