// Calibration over simulated pipelines whose speed is known.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/calibration.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "plan/cost_estimator.h"
#include "sim/realtime_sim_executor.h"
#include "sim/sim_executor.h"

namespace penstock {
namespace {

constexpr CalibrationLimits kLimits = {.max_chunk = 2048,
                                       .max_len = 8192,
                                       .max_num_seqs = 64,
                                       .num_blocks = 256,
                                       .block_size = 64,
                                       .vocab_size = 1000};

// About a model of 135 M parameters on one core for each stage, the second of them slower.
CostModel SmallModel() {
  const StageCost stage = {.step_us = 400,
                           .token_us = 250,
                           .floor_us = 4000,
                           .pair_us = 0.02,
                           .history_us = 0,
                           .seq_us = 30,
                           .decode_token_us = 200,
                           .decode_context_us = 0.3};
  StageCost slower = stage;
  slower.token_us *= 1.2;
  slower.decode_token_us = 3000;  // the head
  return {{stage, slower}};
}

CostModel Scaled(CostModel model, double factor) {
  for (StageCost& stage : model.stages) {
    stage = {.step_us = stage.step_us * factor,
             .token_us = stage.token_us * factor,
             .floor_us = stage.floor_us * factor,
             .pair_us = stage.pair_us * factor,
             .history_us = stage.history_us * factor,
             .seq_us = stage.seq_us * factor,
             .decode_token_us = stage.decode_token_us * factor,
             .decode_context_us = stage.decode_context_us * factor};
  }
  return model;
}

struct Outcome {
  CostModel model;
  std::vector<std::vector<CostSample>> samples;
  double seconds = 0;
  int32_t num_steps = 0;
  int64_t last_total_us = 0;
  int32_t most_in_flight = 0;
  std::vector<std::string> violations;
};

SimConfig SimOf(const CostModel& truth, const CalibrationLimits& limits, double noise) {
  SimConfig config;
  config.num_stages = truth.num_stages();
  config.num_blocks = limits.num_blocks;
  config.block_size = limits.block_size;
  config.vocab_size = limits.vocab_size;
  auto random = std::make_shared<std::mt19937>(7);
  config.cost = [truth, noise, random](const Step& step, int stage) {
    std::normal_distribution<double> draw(1, noise);
    return std::max<int64_t>(1, std::llround(truth.stages[stage].Predict(WorkOf(step)) * draw(*random)));
  };
  return config;
}

Outcome Calibrate(const CostModel& truth, CalibrationLimits limits = kLimits, double noise = 0,
                  int64_t budget_us = 12'000'000) {
  Calibrator calibrator({.num_stages = truth.num_stages(), .limits = limits, .budget_us = budget_us});
  VirtualClock clock;
  SimExecutor executor(SimOf(truth, limits, noise), clock);
  Outcome outcome;
  while (!calibrator.done()) {
    while (auto step = calibrator.Next()) executor.Submit(std::move(step));
    outcome.most_in_flight = std::max(outcome.most_in_flight, executor.num_in_flight());
    clock.AdvanceTo(std::max(clock.now_us(), executor.NextEventUs().value_or(clock.now_us())));
    while (auto result = executor.Poll()) calibrator.OnResult(*result);
  }
  EXPECT_TRUE(calibrator.status().ok()) << calibrator.status().message();
  EXPECT_EQ(executor.num_in_flight(), 0);
  outcome.samples = calibrator.Samples();
  CostEstimator estimator(truth.num_stages());
  EXPECT_TRUE(estimator.SetGrid(outcome.samples));
  outcome.model = estimator.ModelToSave();
  outcome.seconds = static_cast<double>(clock.now_us()) * 1e-6;
  outcome.num_steps = calibrator.num_steps();
  outcome.last_total_us = calibrator.total_us();
  outcome.violations = executor.violations();
  return outcome;
}

// Largest error over chunks and histories that no grid has, on any stage.
double WorstError(const CostModel& model, const CostModel& truth, int32_t longest_chunk) {
  double worst = 0;
  for (int32_t len : {24, 100, 300, 700, 1500, 2000}) {
    if (len > longest_chunk) continue;
    for (int32_t pos : {0, 640, 1700, 3000, 5000, 6000}) {
      for (size_t s = 0; s < truth.stages.size(); ++s) {
        const double expected = truth.stages[s].PredictChunk(pos, len);
        worst = std::max(worst, std::abs(model.stages[s].PredictChunk(pos, len) / expected - 1));
      }
    }
  }
  return worst;
}

TEST(Calibration, FindsTheTruth) {
  const CostModel truth = SmallModel();
  const Outcome outcome = Calibrate(truth);
  EXPECT_TRUE(outcome.violations.empty()) << outcome.violations.front();
  EXPECT_LT(WorstError(outcome.model, truth, 2000), 0.02);
  for (int s = 0; s < 2; ++s) {
    const StepWork decodes = WorkOf(std::vector<ChunkShape>(9, {.pos = 3000, .len = 1, .is_decode = true}));
    const double expected = truth.stages[s].Predict(decodes);
    EXPECT_NEAR(outcome.model.stages[s].Predict(decodes), expected, 0.05 * expected);
  }
}

TEST(Calibration, FindsItInNoise) {
  const CostModel truth = SmallModel();
  EXPECT_LT(WorstError(Calibrate(truth, kLimits, 0.03).model, truth, 2000), 0.06);
}

TEST(Calibration, KeepsToItsTimeWhateverTheModel) {
  for (double factor : {0.001, 0.1, 1.0, 10.0, 100.0}) {
    const CostModel truth = Scaled(SmallModel(), factor);
    const Outcome outcome = Calibrate(truth);
    EXPECT_LT(outcome.seconds, 12 * (factor <= 10 ? 1.25 : 1.5)) << factor;
    EXPECT_NEAR(static_cast<double>(outcome.last_total_us), outcome.seconds * 1e6, 2) << factor;
    // What it could afford it knows, and what is a few times longer.
    EXPECT_LT(WorstError(outcome.model, truth, factor <= 1 ? 2000 : factor <= 10 ? 300 : 0), 0.1) << factor;
  }
  EXPECT_LT(Calibrate(SmallModel(), kLimits, 0, 3'000'000).seconds, 3 * 1.3);
}

TEST(Calibration, OfASlowModelAtLeastTheSmallestChunk) {
  const Outcome outcome = Calibrate(Scaled(SmallModel(), 2000));  // ten seconds for sixteen tokens
  EXPECT_GE(outcome.samples[0].size(), 1u);
  EXPECT_LT(outcome.num_steps, 8);
}

TEST(Calibration, EachShapeThreeTimesAboutThirtyShapes) {
  const Outcome outcome = Calibrate(Scaled(SmallModel(), 0.1));
  EXPECT_GE(outcome.samples[0].size(), 25u);
  EXPECT_LE(outcome.samples[0].size(), 45u);
  EXPECT_GE(outcome.num_steps, 3 * static_cast<int32_t>(outcome.samples[0].size()));
  bool longest_history = false;
  int num_decodes = 0;
  for (const CostSample& sample : outcome.samples[0]) {
    longest_history |= sample.work.history >= 7000;
    num_decodes += sample.work.decode_tokens > 0;
  }
  EXPECT_TRUE(longest_history);
  EXPECT_GE(num_decodes, 4);
}

TEST(Calibration, KeepsThePipelineFull) {
  const Outcome outcome = Calibrate(SmallModel());
  EXPECT_EQ(outcome.most_in_flight, 3);
  // Two stages take little more than the slower one alone.
  const CostModel slower = {{SmallModel().stages[1]}};
  EXPECT_LT(outcome.seconds, 1.35 * Calibrate(slower).seconds);
}

TEST(Calibration, OneOutlierDoesNotCount) {
  const CostModel truth = SmallModel();
  CalibrationLimits limits = kLimits;
  Calibrator calibrator({.num_stages = 2, .limits = limits});
  VirtualClock clock;
  SimConfig config = SimOf(truth, limits, 0);
  int num_calls = 0;
  config.cost = [inner = config.cost, &num_calls](const Step& step, int stage) {
    return inner(step, stage) * (++num_calls % 40 == 0 ? 8 : 1);
  };
  SimExecutor executor(config, clock);
  while (!calibrator.done()) {
    while (auto step = calibrator.Next()) executor.Submit(std::move(step));
    clock.AdvanceTo(std::max(clock.now_us(), executor.NextEventUs().value_or(clock.now_us())));
    while (auto result = executor.Poll()) calibrator.OnResult(*result);
  }
  CostEstimator estimator(2);
  ASSERT_TRUE(estimator.SetGrid(calibrator.Samples()));
  EXPECT_LT(WorstError(estimator.ModelToSave(), truth, 2000), 0.05);
}

TEST(Calibration, SmallCaches) {
  for (int32_t num_blocks : {0, 1, 3, 4, 5, 9, 40}) {
    CalibrationLimits limits = kLimits;
    limits.num_blocks = num_blocks;
    limits.max_len = std::min(limits.max_len, num_blocks * limits.block_size);
    Calibrator calibrator({.num_stages = 1, .limits = limits});
    VirtualClock clock;
    SimExecutor executor(SimOf({{SmallModel().stages[0]}}, limits, 0), clock);
    while (!calibrator.done()) {
      while (auto step = calibrator.Next()) executor.Submit(std::move(step));
      clock.AdvanceTo(std::max(clock.now_us(), executor.NextEventUs().value_or(clock.now_us())));
      while (auto result = executor.Poll()) calibrator.OnResult(*result);
    }
    EXPECT_TRUE(executor.violations().empty()) << num_blocks << " " << executor.violations().front();
    EXPECT_EQ(calibrator.Samples()[0].empty(), num_blocks < 4) << num_blocks;
  }
}

TEST(Calibration, AFailedStepEndsIt) {
  Calibrator calibrator({.num_stages = 2, .limits = kLimits});
  VirtualClock clock;
  SimConfig config = SimOf(SmallModel(), kLimits, 0);
  config.fault = [](const Step& step) {
    return SimFault{.status = step.step_id == 30 ? Internal("broken") : OkStatus()};
  };
  SimExecutor executor(config, clock);
  while (!calibrator.done()) {
    while (auto step = calibrator.Next()) executor.Submit(std::move(step));
    clock.AdvanceTo(std::max(clock.now_us(), executor.NextEventUs().value_or(clock.now_us())));
    while (auto result = executor.Poll()) calibrator.OnResult(*result);
  }
  EXPECT_EQ(calibrator.status().message(), "broken");
  EXPECT_EQ(executor.num_in_flight(), 0);
}

TEST(RunCalibration, InRealTime) {
  const CostModel truth = Scaled(SmallModel(), 0.02);
  RealtimeSimExecutor executor(SimOf(truth, kLimits, 0));
  Calibrator calibrator({.num_stages = 2, .limits = kLimits, .budget_us = 150'000});
  int num_calls = 0;
  int64_t last_us = 0;
  const Status status = RunCalibration(executor, calibrator, [&](int64_t spent_us, int64_t total_us) {
    ++num_calls;
    EXPECT_GE(spent_us, last_us);
    EXPECT_LE(spent_us, total_us);
    last_us = spent_us;
  });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(num_calls, calibrator.num_steps());
  EXPECT_TRUE(executor.violations().empty());
  EXPECT_GE(calibrator.Samples()[1].size(), 5u);
}

}  // namespace
}  // namespace penstock
