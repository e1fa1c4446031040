// SPDX-License-Identifier: Apache-2.0
#include "apps/pipeline_cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "apps/testing/small_plan.h"
#include "sim/realtime_sim_executor.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::TempDir;

const CostModel kTruth = {{{.step_us = 40, .token_us = 0.5, .pair_us = 1e-4, .decode_token_us = 20},
                           {.step_us = 40, .token_us = 0.6, .pair_us = 1e-4, .decode_token_us = 30}}};

class PipelineCostTest : public ::testing::Test {
 protected:
  PipelineCostTest() {
    run_ = SmallRun(model_.path());
    run_.cache_dir = cache_.path();
    run_.calibration_budget_us = 60'000;
  }
  // Over a pipeline of its own. `num_steps`: that were run.
  PipelineCost Obtain(Status fault = OkStatus()) {
    num_steps_ = 0;
    SimConfig sim{.num_stages = run_.layout.pp, .num_blocks = 128, .block_size = 64};
    sim.cost = [&](const Step& step, int stage) {
      const StepWork work = WorkOf(step);
      const double time_us = kTruth.stages[stage].Predict(work);
      // By the shape, so that no median helps, and that no model of the cost fits.
      const auto shape = static_cast<uint64_t>(work.tokens + 1000 * work.history + 77 * work.decode_context);
      const double disturbance = static_cast<double>(1 + std::mt19937_64(shape)() % 20);
      return std::llround(num_steps_ <= num_disturbed_steps_ ? time_us / disturbance : time_us);
    };
    sim.fault = [this, fault](const Step&) {
      ++num_steps_;
      return SimFault{.status = fault};
    };
    RealtimeSimExecutor executor(std::move(sim));
    Result<PipelineCost> cost = ObtainPipelineCost(run_, SmallPlan(run_.layout.pp), executor);
    status_ = cost.ok() ? OkStatus() : cost.status();
    return cost.ok() ? *std::move(cost) : PipelineCost();
  }

  TempDir model_, cache_;
  RunConfig run_;
  int num_steps_ = 0;
  int num_disturbed_steps_ = 0;  // the first ones, whose times differ by up to 20 times
  Status status_;
};

TEST_F(PipelineCostTest, MeasuredOnceThenRead) {
  const PipelineCost first = Obtain();
  EXPECT_GT(num_steps_, 20);
  ASSERT_EQ(first.model.num_stages(), 2);
  EXPECT_EQ(first.grid.size(), 2u);
  EXPECT_GT(first.quality.num_samples, 5);
  EXPECT_TRUE(std::filesystem::exists(first.path));

  const PipelineCost second = Obtain();
  EXPECT_EQ(num_steps_, 0);
  EXPECT_EQ(second.model, first.model);
  EXPECT_TRUE(second.grid.empty());

  run_.calibration = CalibrationMode::kAlways;
  Obtain();
  EXPECT_GT(num_steps_, 20);
}

TEST_F(PipelineCostTest, ACorruptFileIsMeasuredAgain) {
  const PipelineCost first = Obtain();
  std::ofstream(first.path) << "{";
  EXPECT_TRUE(Obtain().model.known());
  EXPECT_GT(num_steps_, 20);
  Obtain();
  EXPECT_EQ(num_steps_, 0);
}

TEST_F(PipelineCostTest, NotWhereItIsOfNoUse) {
  run_.calibration = CalibrationMode::kOff;
  EXPECT_FALSE(Obtain().model.known());
  EXPECT_EQ(num_steps_, 0);
  run_.calibration = CalibrationMode::kAuto;
  run_.chunk_policies = {ChunkPolicy::kStatic};
  EXPECT_FALSE(Obtain().model.known());
  run_.chunk_policies = {ChunkPolicy::kOptimal};
  run_.layout.pp = 1;
  EXPECT_FALSE(Obtain().model.known());
  run_.max_step_us = 1000;
  EXPECT_TRUE(Obtain().model.known());
}

TEST_F(PipelineCostTest, OffStillReadsWhatIsSaved) {
  const PipelineCost first = Obtain();
  run_.calibration = CalibrationMode::kOff;
  EXPECT_EQ(Obtain().model, first.model);
  EXPECT_EQ(num_steps_, 0);
}

TEST_F(PipelineCostTest, AFailureIsNoReasonNotToServe) {
  EXPECT_FALSE(Obtain(Internal("broken")).model.known());
  EXPECT_TRUE(status_.ok());
  Obtain(Unavailable("a rank is gone"));
  EXPECT_EQ(status_.message(), "a rank is gone");
}

// Something else uses the processor, all the time.
TEST_F(PipelineCostTest, WhatIsFarOffIsNotUsedNorKept) {
  num_disturbed_steps_ = 1 << 30;
  const PipelineCost cost = Obtain();
  EXPECT_TRUE(status_.ok());
  EXPECT_FALSE(cost.model.known());
  EXPECT_TRUE(cost.grid.empty());
  EXPECT_FALSE(std::filesystem::exists(cost.path));
}

// It ends while the pipeline is measured for the first time.
TEST_F(PipelineCostTest, ADisturbedCalibrationIsMeasuredOnceMore) {
  Obtain();
  const int usual_steps = num_steps_;
  std::filesystem::remove_all(cache_.path());
  num_disturbed_steps_ = usual_steps;
  const PipelineCost cost = Obtain();
  EXPECT_GT(num_steps_, 1.3 * usual_steps);
  ASSERT_TRUE(cost.model.known());
  EXPECT_LT(cost.quality.median_error, 0.05);
}

TEST_F(PipelineCostTest, WithoutACacheDirectory) {
  run_.cache_dir.clear();
  const PipelineCost cost = Obtain();
  EXPECT_TRUE(cost.model.known());
  EXPECT_EQ(cost.path, "");
}

TEST_F(PipelineCostTest, WhatWasLearntIsKept) {
  const PipelineCost first = Obtain();
  EngineStats stats;
  SaveLearntCost(first, stats);  // nothing was
  EXPECT_EQ(Obtain().model, first.model);
  stats.measured_cost = kTruth;
  stats.cost_error = {.median_error = 0.01, .p90_error = 0.02, .num_samples = 50};
  SaveLearntCost(first, stats);  // too little
  EXPECT_EQ(Obtain().model, first.model);
  stats.cost_error.num_samples = 200;
  SaveLearntCost(first, stats);
  EXPECT_EQ(Obtain().model, kTruth);
  EXPECT_EQ(num_steps_, 0);
}

}  // namespace
}  // namespace penstock
