// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_fit.h"

#include <gtest/gtest.h>

#include <limits>

#include "plan/testing/cost_samples.h"
#include "plan/testing/measured_costs.h"

namespace penstock {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<CostSample> RandomSamples(const StageCost& truth, int count, Noise noise, std::mt19937* rng) {
  std::vector<CostSample> samples;
  for (int i = 0; i < count; ++i) {
    const StepWork work = RandomPrompt(rng, 256);
    samples.push_back({.work = work, .time_us = truth.Predict(work) * noise(rng)});
  }
  return samples;
}

StepWork UnseenPrompt(std::mt19937* rng) { return RandomPrompt(rng, 512); }

class FitOfMeasuredCosts : public testing::TestWithParam<std::tuple<MeasuredCost, int>> {
 protected:
  const StageCost truth_ =
      MakeBalancedCost(std::get<0>(GetParam()).whole, std::get<1>(GetParam())).stages.front();
};
INSTANTIATE_TEST_SUITE_P(All, FitOfMeasuredCosts,
                         testing::Combine(testing::ValuesIn(kMeasuredCosts), testing::Values(2, 8)));

TEST_P(FitOfMeasuredCosts, GridPredictsUnseenShapes) {
  for (unsigned seed = 1; seed <= 10; ++seed) {
    std::mt19937 rng(seed);
    const StageFit fit = FitStageCost(GridSamples(truth_, {.sigma = 0.03}, &rng));
    ASSERT_TRUE(fit.ok);
    EXPECT_EQ(fit.quality.num_samples, 32);
    EXPECT_LE(ErrorOver(fit.cost, truth_, 0.5, UnseenPrompt), 0.03) << seed;
    EXPECT_LE(ErrorOver(fit.cost, truth_, 0.9, UnseenPrompt), 0.08) << seed;
  }
}

TEST_P(FitOfMeasuredCosts, NoiseAndTenFoldOutliersStayWithinFivePercent) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    std::mt19937 rng(seed);
    const auto samples = RandomSamples(truth_, 300, {.sigma = 0.05, .outliers = 0.01}, &rng);
    const StageFit fit = FitStageCost(samples);
    ASSERT_TRUE(fit.ok);
    EXPECT_LE(ErrorOver(fit.cost, truth_, 1.0, UnseenPrompt), 0.05) << seed;
  }
}

TEST_P(FitOfMeasuredCosts, WithoutNoiseItIsTheTruth) {
  std::mt19937 rng(1);
  const StageFit fit = FitStageCost(RandomSamples(truth_, 60, {}, &rng));
  EXPECT_LE(ErrorOver(fit.cost, truth_, 1.0, UnseenPrompt), 0.002);
  EXPECT_LE(fit.quality.p90_error, 0.002);
}

TEST_P(FitOfMeasuredCosts, OneBadSampleOfTheGridDoesNotMatterWhichever) {
  std::mt19937 rng(1);
  const auto good = GridSamples(truth_, {.sigma = 0.01}, &rng);
  for (size_t i = 0; i < good.size(); i += 2) {
    for (double factor : {0.1, 10.0}) {
      auto samples = good;
      samples[i].time_us *= factor;
      const StageFit fit = FitStageCost(samples);
      EXPECT_LE(ErrorOver(fit.cost, truth_, 0.9, UnseenPrompt), 0.05) << i << " times " << factor;
    }
  }
}

TEST(FitStageCost, DecodeAndSequencesWhereThereAreAny) {
  const StageCost truth = {.step_us = 500,
                           .token_us = 10,
                           .pair_us = 1e-3,
                           .seq_us = 200,
                           .decode_token_us = 50,
                           .decode_context_us = 0.02};
  std::mt19937 rng(1);
  const StageCost prior = {.step_us = 1, .decode_token_us = 77, .decode_context_us = 0.33};
  std::vector<CostSample> samples = RandomSamples(truth, 50, {.sigma = 0.02}, &rng);
  StageFit fit = FitStageCost(samples, prior);
  EXPECT_EQ(fit.cost.decode_token_us, 77);
  EXPECT_EQ(fit.cost.decode_context_us, 0.33);

  for (int i = 0; i < 300; ++i) {
    StepWork work = i % 3 == 0 ? StepWork{} : RandomDecode(&rng);
    if (i % 3 != 1) {
      for (int chunks = 1 + i % 7; chunks > 0; --chunks)
        work.Add({.pos = 1000 * (i % 20), .len = 64 * chunks});
    }
    samples.push_back({.work = work, .time_us = truth.Predict(work) * Noise{.sigma = 0.02}(&rng)});
  }
  fit = FitStageCost(samples, prior);
  EXPECT_NEAR(fit.cost.seq_us, truth.seq_us, 0.1 * truth.seq_us);
  EXPECT_NEAR(fit.cost.decode_token_us, truth.decode_token_us, 0.3 * truth.decode_token_us);
  EXPECT_NEAR(fit.cost.decode_context_us, truth.decode_context_us, 0.1 * truth.decode_context_us);
  EXPECT_LE(ErrorOver(fit.cost, truth, 1.0, RandomDecode), 0.05);
}

TEST(FitStageCost, StaysNearThePriorInWhatSamplesLeaveOpen) {
  const StageCost truth = MakeBalancedCost(kMeasuredCosts[0].whole, 2).stages.front();
  std::mt19937 rng(1);
  std::vector<CostSample> samples;  // one shape, half as fast as the prior
  for (int i = 0; i < 50; ++i) {
    samples.push_back({.work = Prompt(0, 4096), .time_us = 2 * truth.PredictChunk(0, 4096)});
  }
  const StageCost cost = FitStageCost(samples, truth).cost;
  EXPECT_NEAR(cost.PredictChunk(0, 4096), 2 * truth.PredictChunk(0, 4096),
              0.01 * truth.PredictChunk(0, 4096));
  EXPECT_NEAR(cost.floor_us / cost.token_us, truth.floor_us / truth.token_us, 1);
  EXPECT_GE(cost.token_us, truth.token_us);
  EXPECT_EQ(cost.history_us, 0);  // as the prior and the samples say
}

TEST(FitStageCost, OfTermsThatLookTheSameTheOneThatIsMoreLikely) {
  const StageCost truth = {.step_us = 50000, .token_us = 10, .pair_us = 1e-3};
  std::vector<CostSample> samples;  // chunks of one length, one in each step
  for (int pos = 0; pos < 131072; pos += 4096) {
    samples.push_back({.work = Prompt(pos, 4096), .time_us = truth.PredictChunk(pos, 4096)});
  }
  const StageCost cost = FitStageCost(samples).cost;
  EXPECT_LT(cost.seq_us, 0.1 * cost.step_us);
  EXPECT_LT(cost.history_us, 0.2 * 4096 * cost.pair_us);
}

TEST(FitStageCost, AFloorOnlyWhereItShows) {
  const StageCost truth = {.step_us = 1000, .token_us = 10, .pair_us = 1e-4};
  std::mt19937 rng(2);
  EXPECT_EQ(FitStageCost(RandomSamples(truth, 100, {}, &rng)).cost.floor_us, 0);
  const StageCost with_floor = {.step_us = 1000, .token_us = 10, .floor_us = 20000, .pair_us = 1e-4};
  const StageCost cost = FitStageCost(RandomSamples(with_floor, 100, {.sigma = 0.01}, &rng)).cost;
  EXPECT_NEAR(cost.floor_us / cost.token_us, 2000, 200);
}

TEST(FitStageCost, AWeightCountsForSoManySamples) {
  const CostSample fast = {.work = Prompt(0, 1000), .time_us = 1000, .weight = 4};
  const CostSample slow = {.work = Prompt(0, 1000), .time_us = 1050};
  const std::vector<CostSample> once = {fast, slow};
  std::vector<CostSample> often(4, {.work = fast.work, .time_us = fast.time_us});
  often.push_back(slow);
  EXPECT_NEAR(FitStageCost(once).cost.PredictChunk(0, 1000), FitStageCost(often).cost.PredictChunk(0, 1000),
              5);
  EXPECT_LT(FitStageCost(once).cost.PredictChunk(0, 1000), 1020);
}

TEST(FitStageCost, ThePriorWhereNothingCanBeUsed) {
  const StageCost prior = {.step_us = 3, .pair_us = 1};
  StepWork broken = Prompt(0, 100);
  broken.pairs = kNan;
  const std::vector<CostSample> useless = {{.work = Prompt(0, 100), .time_us = kNan},
                                           {.work = Prompt(0, 100), .time_us = kInf},
                                           {.work = Prompt(0, 100), .time_us = -1},
                                           {.work = Prompt(0, 100), .time_us = 0},
                                           {.work = Prompt(0, 100), .time_us = 1e300},
                                           {.work = Prompt(0, 100), .time_us = 1, .weight = 0},
                                           {.work = broken, .time_us = 1}};
  for (const auto& samples : {std::vector<CostSample>{}, useless}) {
    const StageFit fit = FitStageCost(samples, prior);
    EXPECT_FALSE(fit.ok);
    EXPECT_EQ(fit.cost, prior);
    EXPECT_EQ(fit.quality.num_samples, 0);
  }
  std::vector<CostSample> mixed = useless;
  mixed.push_back({.work = Prompt(0, 100), .time_us = 500});
  const StageFit fit = FitStageCost(mixed, prior);
  EXPECT_TRUE(fit.ok);
  EXPECT_EQ(fit.quality.num_samples, 1);
  EXPECT_NEAR(fit.cost.PredictChunk(0, 100), 500, 25);
}

TEST(FitStageCost, SoundWhateverTheSamples) {
  std::mt19937 rng(3);
  const auto pick = [&](std::initializer_list<double> values) {
    return values.begin()[rng() % values.size()];
  };
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<CostSample> samples;
    const bool all_equal = trial % 5 == 0;
    for (int i = 0; i < 1 + trial % 40; ++i) {
      const StepWork work = rng() % 4 == 0   ? RandomDecode(&rng)
                            : rng() % 4 == 0 ? StepWork{}
                                             : Prompt(rng() % 3 * 50000, 1 + rng() % 20000);
      const double time = pick({1, 1, 1000, 1e6, 1e12, 1e13, 0.5, 0, -5, kNan, kInf, 1e308});
      samples.push_back({.work = work, .time_us = time, .weight = pick({1, 1, 1, 1e-9, 1e6, kInf, -1})});
      if (all_equal) samples.back() = CostSample(samples.front());
    }
    StageCost prior;
    if (trial % 3 == 0) prior = {.step_us = pick({1, kNan, -1}), .token_us = pick({0, 1e9}), .floor_us = 5};
    const StageFit fit = FitStageCost(samples, prior);
    if (!fit.ok) continue;
    ASSERT_TRUE(fit.cost.IsSound()) << trial;
    for (const CostSample& sample : samples)
      ASSERT_TRUE(std::isfinite(fit.cost.Predict(sample.work))) << trial;
    ASSERT_TRUE(std::isfinite(fit.quality.p90_error)) << trial;
  }
}

TEST(MeasureFit, RelativeErrors) {
  const StageCost cost = {.step_us = 100};
  std::vector<CostSample> samples;
  for (int i = 0; i < 10; ++i) samples.push_back({.work = {}, .time_us = i < 8 ? 80.0 : 200.0});
  samples.push_back({.work = {}, .time_us = kNan});
  const FitQuality quality = MeasureFit(cost, samples);
  EXPECT_NEAR(quality.median_error, 0.25, 1e-9);
  EXPECT_NEAR(quality.p90_error, 0.5, 1e-9);
  EXPECT_EQ(quality.num_samples, 10);
}

}  // namespace
}  // namespace penstock
