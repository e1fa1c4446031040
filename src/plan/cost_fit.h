// Fitting a StageCost to measured steps.
//
// Weighted least squares in relative error, ||(predicted - measured) / expected||², with coefficients >= 0
// (Lawson and Hanson's active sets on the normal equations) and Huber's weights against outliers. The floor
// is not linear: it is searched over as a length at which tokens begin to cost (floor / token), the rest
// being solved for each.
//
// Never fails: where the samples do not determine the coefficients, what they leave open stays near the
// prior; where they are worthless (none, or all unusable), the prior itself comes back and `ok` is false.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/cost_model.h"

namespace penstock {

struct CostSample {
  StepWork work;
  double time_us = 0;  // samples outside 0.1 us … a fortnight are ignored
  double weight = 1;   // how many ordinary samples it counts for
};

struct FitQuality {
  double median_error = 0;  // of |predicted - measured| / measured over the samples
  double p90_error = 0;
  int32_t num_samples = 0;  // that were used
};

struct StageFit {
  StageCost cost;
  FitQuality quality;
  bool ok = false;  // false: `cost` is the prior
};

StageFit FitStageCost(std::span<const CostSample> samples, const StageCost& prior = {});
FitQuality MeasureFit(const StageCost& cost, std::span<const CostSample> samples);

}  // namespace penstock
