// Iterated: with each sample's weight and unit held, the best coefficients for each of a row of knees, then
// between the best one's neighbours; with those, new units (the times that are now expected, which unlike the
// measured ones are not biased by noise) and new weights (Huber's).
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_fit.h"

#include <algorithm>
#include <cmath>

#include "plan/cost_equations.h"
#include "plan/quantile.h"

namespace penstock {
namespace {

constexpr int kMaxRounds = 16;
constexpr int kMeasuredRounds = 4;  // units are the measured times, until the prediction is worth something
constexpr double kSettled = 1e-5;   // change of predictions between rounds
constexpr double kHuber = 2;        // deviations beyond so many sigma lose weight
constexpr double kLeastSigma = 0.003;
constexpr double kSignificant = 1;  // sigma² by which another knee must be better
constexpr double kKneeRatio = 1.5;
constexpr double kKneePrecision = 0.02;

class StageFitter {
 public:
  StageFitter(std::vector<CostSample> samples, const StageCost& prior)
      : samples_(std::move(samples)),
        prior_(CoefficientsOf(prior)),
        prior_knee_(KneeOf(prior)),
        unit_us_(samples_.size()),
        weight_(samples_.size()) {
    for (size_t i = 0; i < samples_.size(); ++i) {
      unit_us_[i] = samples_[i].time_us;
      weight_[i] = samples_[i].weight;
      min_tokens_ = std::min(min_tokens_, std::max(samples_[i].work.tokens, 1.0));
      max_tokens_ = std::max(max_tokens_, samples_[i].work.tokens);
    }
  }

  StageCost Run() {
    StageCost cost;
    for (int round = 0; round < kMaxRounds; ++round) {
      const StageCost next = BestKnee().cost();
      const double change = LargestChange(cost, next);
      cost = next;
      Reweight(cost, round >= kMeasuredRounds);
      if (round > kMeasuredRounds && change < kSettled) break;
    }
    return cost;
  }

 private:
  using Solution = CostEquations::Solution;

  // The best of these knees; the first of equals.
  Solution BestOf(const std::vector<double>& knees) const {
    CostEquations equations(knees);
    for (size_t i = 0; i < samples_.size(); ++i) {
      equations.Add(samples_[i].work, samples_[i].time_us, unit_us_[i], weight_[i]);
    }
    Solution best = equations.Solve(0, prior_, sigma_ * sigma_);
    for (size_t i = 1; i < knees.size(); ++i) {
      const Solution solution = equations.Solve(i, prior_, sigma_ * sigma_);
      if (solution.objective < best.objective) best = solution;
    }
    return best;
  }

  // The prior's knee, unless another one is significantly better: none at all before any other.
  Solution BestKnee() const {
    std::vector<double> knees;
    for (double knee = min_tokens_ / 4; knee < 4 * max_tokens_; knee *= kKneeRatio) knees.push_back(knee);
    Solution best = BestOf(knees);
    for (double ratio = std::sqrt(kKneeRatio); ratio > 1 + kKneePrecision; ratio = std::sqrt(ratio)) {
      best = BestOf({best.knee, best.knee / ratio, best.knee * ratio});
    }
    const double margin = kSignificant * sigma_ * sigma_;
    const Solution none = BestOf({0});
    if (best.objective >= none.objective - margin) best = none;
    if (prior_knee_ == 0) return best;
    const Solution prior = BestOf({prior_knee_});
    return best.objective < prior.objective - margin ? best : prior;
  }

  double LargestChange(const StageCost& from, const StageCost& to) const {
    double most = 0;
    for (const CostSample& sample : samples_) {
      const double before = from.Predict(sample.work), after = to.Predict(sample.work);
      most = std::max(most, std::abs(after - before) / std::max(after, 1e-9));
    }
    return most;
  }

  void Reweight(const StageCost& cost, bool predicted_units) {
    std::vector<double> deviation(samples_.size());
    for (size_t i = 0; i < samples_.size(); ++i) {
      const double predicted = cost.Predict(samples_[i].work);
      if (predicted_units) unit_us_[i] = std::max(predicted, 1e-3 * samples_[i].time_us);
      deviation[i] = std::abs(predicted - samples_[i].time_us) / unit_us_[i];
    }
    // Of few samples, the fit follows the noise: what is left of it is less than it was.
    const double n = static_cast<double>(samples_.size());
    const double freedom = std::max(n - 4, 1.0) / n;
    sigma_ = std::max(1.4826 * Quantile(deviation, 0.5) / std::sqrt(freedom), kLeastSigma);
    for (size_t i = 0; i < samples_.size(); ++i) {
      weight_[i] = samples_[i].weight * std::min(1.0, kHuber * sigma_ / std::max(deviation[i], 1e-12));
    }
  }

  const std::vector<CostSample> samples_;
  const CostTerms prior_;
  const double prior_knee_;
  double min_tokens_ = 1e18, max_tokens_ = 1;
  double sigma_ = 0.05;  // of the noise, relative
  std::vector<double> unit_us_;
  std::vector<double> weight_;
};

std::vector<CostSample> Usable(std::span<const CostSample> samples) {
  std::vector<CostSample> usable;
  std::copy_if(samples.begin(), samples.end(), std::back_inserter(usable), IsUsable);
  return usable;
}

}  // namespace

StageFit FitStageCost(std::span<const CostSample> samples, const StageCost& prior) {
  StageFit fit;
  fit.cost = prior;
  std::vector<CostSample> usable = Usable(samples);
  if (!usable.empty()) {
    const StageCost cost = StageFitter(std::move(usable), prior.IsSound() ? prior : StageCost{}).Run();
    fit.ok = cost.IsSound();
    if (fit.ok) fit.cost = cost;
  }
  fit.quality = MeasureFit(fit.cost, samples);
  return fit;
}

FitQuality MeasureFit(const StageCost& cost, std::span<const CostSample> samples) {
  std::vector<double> errors;
  for (const CostSample& sample : Usable(samples)) {
    errors.push_back(std::abs(cost.Predict(sample.work) - sample.time_us) / sample.time_us);
  }
  return {.median_error = Quantile(errors, 0.5),
          .p90_error = Quantile(errors, 0.9),
          .num_samples = static_cast<int32_t>(errors.size())};
}

}  // namespace penstock
