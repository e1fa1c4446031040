// Expected values: vLLM-Ascend's own manager, on the data of its unit tests.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/profiling_chunk_manager.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace penstock {
namespace {

void Profile(ProfilingChunkManager* manager) {
  std::vector<double> lens, times;
  for (int len = 64; len < 8256; len += 128) {
    lens.push_back(len);
    times.push_back(1e-6 * len * len + 0.01 * len + 1.0);
  }
  ASSERT_TRUE(manager->FinishProfiling(lens, times));
}

ProfilingChunkManager ReadyManager(const PredictorOptions& options = {}) {
  ProfilingChunkManager manager(8192, 128, options);
  Profile(&manager);
  return manager;
}

bool Record(ProfilingChunkManager* manager, int32_t len, int32_t pos, double time_ms) {
  const ChunkShape chunk{.pos = pos, .len = len};
  return manager->RecordBatch({&chunk, 1}, time_ms);
}

void Report(ProfilingChunkManager* manager, int32_t len, int32_t pos, double time_ms) {
  const ChunkShape chunk{.pos = pos, .len = len};
  manager->OnBatch({&chunk, 1}, time_ms);
}

TEST(ProfilingChunkManager, ProfilesTheSourcesLengths) {
  const std::vector<int32_t> lens = ProfilingChunkManager::ProfileLengths(8192);
  ASSERT_EQ(lens.size(), 64u);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(lens[i], 8192 - 128 * i);
  EXPECT_EQ(ProfilingChunkManager::ProfileLengths(32768).back(), 512);
  EXPECT_EQ(ProfilingChunkManager::ProfileLengths(1000)[1], 984);  // 984.375
  EXPECT_EQ(ProfilingChunkManager::ProfileLengths(10).back(), 1);
}

TEST(ProfilingChunkManager, IsNotReadyBeforeItHasProfiled) {
  ProfilingChunkManager manager(8192, 128);
  EXPECT_FALSE(manager.is_ready());
  EXPECT_EQ(manager.PredictChunkSize(0, 1.0), std::nullopt);
  EXPECT_EQ(manager.PredictTime(8192, 0), 0);
  const std::vector<double> lens = {64, 128, 256}, times = {1, 2, 3};
  EXPECT_FALSE(manager.FinishProfiling(lens, times));
  EXPECT_FALSE(manager.is_ready());
}

TEST(ProfilingChunkManager, PredictsOnceItHasProfiled) {
  const ProfilingChunkManager manager = ReadyManager();
  EXPECT_TRUE(manager.is_ready());
  EXPECT_FALSE(manager.history_ready());
  EXPECT_EQ(manager.PredictChunkSize(0, 1.0), 4096);
  EXPECT_EQ(manager.PredictChunkSize(0, 149.028864), 8192);
  EXPECT_NEAR(manager.PredictTime(4096, 4096), 91.291648, 1e-11);
  EXPECT_NEAR(manager.PredictTime(8192, 0), 149.028864, 1e-11);
  EXPECT_EQ(ReadyManager({.release_behaviour = true}).PredictChunkSize(0, 1.0), 8192);
}

// The times lie on 0.025 (C + H) - 52.4 exactly: what the source finds for a is rounding, and on it depends
// where between 7296 and 7424, 4736 and 4864 its chunks are.
TEST(ProfilingChunkManager, RecordsRefitTheModel) {
  ProfilingChunkManager manager = ReadyManager();
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(Record(&manager, 4096 - i * 100, i * 500, 50 + 10 * i), i >= 4) << i;
  }
  EXPECT_EQ(manager.num_samples(), 10);
  EXPECT_TRUE(manager.history_ready());
  EXPECT_EQ(manager.predictor().with_history().a, 0);
  EXPECT_NEAR(manager.predictor().with_history().b, 0.025, 1e-14);
  EXPECT_NEAR(manager.predictor().with_history().c, -52.4, 1e-10);
  EXPECT_EQ(manager.PredictChunkSize(0, 149), 8192);
  EXPECT_EQ(manager.PredictChunkSize(1000, 149), 7296);
  EXPECT_EQ(manager.PredictChunkSize(4096, 149), 4864);
  EXPECT_EQ(manager.PredictChunkSize(8192, 149), std::nullopt);
  EXPECT_EQ(manager.PredictChunkSize(16384, 149), std::nullopt);
}

TEST(ProfilingChunkManager, TheFirstThreeStepsWithoutHistorySetTheTarget) {
  ProfilingChunkManager manager = ReadyManager();
  const auto target = [&] { return *manager.predictor().target_ms(); };
  Report(&manager, 8192, 0, 100);
  EXPECT_EQ(target(), 100);
  Report(&manager, 6144, 8192, 140);
  EXPECT_EQ(target(), 100);
  Report(&manager, 100, 0, 3);
  EXPECT_EQ(target(), 3);
  Report(&manager, 8192, 0, 120);
  EXPECT_EQ(target(), 120);
  Report(&manager, 8192, 0, 130);
  EXPECT_EQ(target(), 120);
  EXPECT_EQ(manager.num_samples(), 5);
  EXPECT_TRUE(manager.history_ready());
}

// Thirty fits, the thirty-first sample ends them, and the step after that ends calibration.
TEST(ProfilingChunkManager, CalibrationEnds) {
  ProfilingChunkManager manager = ReadyManager();
  for (int i = 0; i < 31; ++i) {
    Report(&manager, 8192 - 64 * i, i < 3 ? 0 : 512 * i, 100 + i);
    EXPECT_EQ(manager.predictor().history_fitted(), i == 30) << i;
    EXPECT_FALSE(manager.calibration_done());
  }
  Report(&manager, 4096, 4096, 100);
  EXPECT_TRUE(manager.calibration_done());
  EXPECT_EQ(manager.num_samples(), 31);
}

TEST(ProfilingChunkManager, CalibrationWaitsForStepsWithoutHistory) {
  ProfilingChunkManager manager = ReadyManager();
  for (int i = 0; i < 40; ++i) Report(&manager, 4096 + 64 * i, 512 * (i + 1), 100 + i);
  EXPECT_TRUE(manager.predictor().history_fitted());
  EXPECT_FALSE(manager.calibration_done());
  for (int i = 0; i < 4; ++i) Report(&manager, 8192, 0, 110);
  EXPECT_TRUE(manager.calibration_done());
  EXPECT_EQ(manager.predictor().target_ms(), 110);
  EXPECT_EQ(manager.num_samples(), 31);
}

TEST(ProfilingChunkManager, IgnoresTimesThatAreNone) {
  ProfilingChunkManager manager = ReadyManager();
  for (const double bad : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    Report(&manager, 8192, 0, bad);
  }
  manager.OnBatch({}, 100);
  EXPECT_EQ(manager.num_samples(), 0);
  EXPECT_NEAR(*manager.predictor().target_ms(), 149.028864, 1e-11);

  ProfilingChunkManager unprofiled(8192, 128);
  Report(&unprofiled, 8192, 0, 100);
  EXPECT_EQ(unprofiled.num_samples(), 0);
}

}  // namespace
}  // namespace penstock
