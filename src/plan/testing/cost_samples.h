// Steps and noisy measurements of them, for tests of the fit and of the estimator.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "plan/cost_fit.h"
#include "plan/quantile.h"

namespace penstock {

inline constexpr int32_t kTestMaxLen = 131072, kTestCap = 16384;

inline StepWork Prompt(double pos, double len) {
  return WorkOf(ChunkShape{.pos = static_cast<int32_t>(pos), .len = static_cast<int32_t>(len)});
}

// A chunk somewhere in a prompt, of least_len … kTestCap tokens, evenly in their logarithm.
inline StepWork RandomPrompt(std::mt19937* rng, double least_len = 512) {
  std::uniform_real_distribution<double> uniform;
  const double len = least_len * std::pow(kTestCap / least_len, uniform(*rng));
  return Prompt(uniform(*rng) * (kTestMaxLen - len), len);
}

inline StepWork RandomDecode(std::mt19937* rng) {
  std::vector<ChunkShape> chunks(1 + (*rng)() % 16);
  for (ChunkShape& chunk : chunks) {
    chunk = {.pos = static_cast<int32_t>((*rng)() % 16000), .len = 1, .is_decode = true};
  }
  return WorkOf(chunks);
}

// The factor by which a measurement is off: normal noise, and now and then ten-fold.
struct Noise {
  double sigma = 0;
  double outliers = 0;

  double operator()(std::mt19937* rng) const {
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    const double factor = std::max(1 + sigma * normal(*rng), 0.01);
    return uniform(*rng) < outliers ? 10 * factor : factor;
  }
};

// The start-up grid, each shape twice: 32 samples.
inline std::vector<CostSample> GridSamples(const StageCost& truth, Noise noise, std::mt19937* rng) {
  std::vector<CostSample> samples;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (double len : {512, 2048, 8192, int{kTestCap}}) {
      for (double share : {0.0, 0.25, 0.5, 1.0}) {
        const StepWork work = Prompt(share * (kTestMaxLen - len), len);
        samples.push_back({.work = work, .time_us = truth.Predict(work) * noise(rng)});
      }
    }
  }
  return samples;
}

// Quantile `share` of |predicted - true| / true over 500 steps that `make(rng)` makes.
template <typename Make>
double ErrorOver(const StageCost& cost, const StageCost& truth, double share, Make make) {
  std::mt19937 rng(12345);
  std::vector<double> errors;
  for (int i = 0; i < 500; ++i) {
    const StepWork work = make(&rng);
    errors.push_back(std::abs(cost.Predict(work) / truth.Predict(work) - 1));
  }
  return Quantile(errors, share);
}

}  // namespace penstock
