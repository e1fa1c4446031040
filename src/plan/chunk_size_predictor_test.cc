// Expected values: vLLM-Ascend's own predictor (Python, double precision), on the data of its unit tests.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/chunk_size_predictor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace penstock {
namespace {

constexpr int32_t kBase = 8192, kPage = 128;
const std::vector<int64_t> kHistories = {0, 4096, 8192, 16384, 32768, 65536, 131072};

// 64 prompts of 64 … 8128 tokens, exactly on 1e-6 l² + 0.01 l + 1.
ChunkSizePredictor FittedPredictor(const PredictorOptions& options = {}) {
  std::vector<double> lens, times;
  for (int len = 64; len < 8256; len += 128) {
    lens.push_back(len);
    times.push_back(1e-6 * len * len + 0.01 * len + 1.0);
  }
  ChunkSizePredictor predictor(options);
  EXPECT_TRUE(predictor.Fit(lens, times));
  predictor.SetTargetLatency(kBase);
  predictor.set_ready();
  return predictor;
}

std::vector<int32_t> Table(const PredictorOptions& options) {
  const ChunkSizePredictor predictor = FittedPredictor(options);
  std::vector<int32_t> chunks;
  for (int64_t pos : kHistories) chunks.push_back(predictor.Predict(pos, kBase, kPage).value_or(-1));
  return chunks;
}

StepSample Sample(double chunk, double history, double time_ms) {
  return {.features = {(chunk + history) * chunk, chunk + history, 1}, .time_ms = time_ms};
}

// Of 8192 tokens, all the same 10 ms.
ChunkSizePredictor ConstantPredictor(bool release_behaviour) {
  const std::vector<double> times(64, 10.0);
  std::vector<double> lens;
  for (int i = 64; i > 0; --i) lens.push_back(i * 128);
  ChunkSizePredictor predictor({.min_chunk = 256, .release_behaviour = release_behaviour});
  EXPECT_TRUE(predictor.Fit(lens, times));
  predictor.SetTargetLatency(kBase);
  predictor.set_ready();
  return predictor;
}

TEST(ChunkSizePredictor, FitsTheBasicModelAsItsSourceDoes) {
  const ChunkSizePredictor predictor = FittedPredictor();
  EXPECT_NEAR(predictor.basic().a, 1e-6, 1e-20);
  EXPECT_NEAR(predictor.basic().b, 0.01, 1e-14);
  EXPECT_NEAR(predictor.basic().c, 1.0, 1e-12);
  EXPECT_NEAR(*predictor.target_ms(), 149.028864, 1e-12);
}

TEST(ChunkSizePredictor, PredictsTheSourcesChunks) {
  const std::vector<int32_t> smooth = {8192, 6656, 5504, 4352, 4096, 4096, 4096};
  const std::vector<int32_t> sharp = {8192, 6144, 4864, 4096, 4096, 4096, 4096};
  const std::vector<int32_t> small = {8192, 6144, 4864, 3328, 2048, 1152, 640};
  for (const bool release : {false, true}) {
    EXPECT_EQ(Table({.smooth_factor = 0.8, .min_chunk = 4096, .release_behaviour = release}), smooth);
    EXPECT_EQ(Table({.smooth_factor = 1.0, .min_chunk = 4096, .release_behaviour = release}), sharp);
    EXPECT_EQ(Table({.smooth_factor = 1.0, .min_chunk = 64, .release_behaviour = release}), small);
  }
}

TEST(ChunkSizePredictor, KnowsNothingBeforeItIsReady) {
  EXPECT_EQ(ChunkSizePredictor().Predict(0, kBase, kPage), std::nullopt);
  ChunkSizePredictor without_target;
  without_target.set_ready();
  EXPECT_EQ(without_target.Predict(0, kBase, kPage), std::nullopt);
}

TEST(ChunkSizePredictor, WantsEightPoints) {
  const std::vector<double> lens = {64, 128, 256, 512, 1024, 2048, 4096}, times = {1, 2, 3, 4, 5, 6, 7};
  ChunkSizePredictor predictor;
  EXPECT_FALSE(predictor.Fit(lens, times));
  EXPECT_EQ(predictor.basic().c, 0);
}

TEST(ChunkSizePredictor, KeepsItsModelWhereTheDataIsNotFinite) {
  ChunkSizePredictor predictor = FittedPredictor();
  const std::vector<double> lens = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<double> times = lens;
  for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
    times[3] = bad;
    EXPECT_FALSE(predictor.Fit(lens, times));
    EXPECT_NEAR(predictor.basic().b, 0.01, 1e-14);
  }
}

TEST(ChunkSizePredictor, FitsAndPredictsWithHistory) {
  for (const double smooth : {0.8, 1.0}) {
    ChunkSizePredictor predictor({.smooth_factor = smooth});
    predictor.set_ready();
    predictor.SetTargetLatency(0, 50.0);
    std::vector<StepSample> samples;
    for (int i = 0; i < 10; ++i) {
      const double c = 1000 + i * 100, h = i * 500;
      samples.push_back(Sample(c, h, 1e-9 * (c + h) * c + 0.001 * (c + h) + 0.5));
    }
    EXPECT_TRUE(predictor.FitChunk(samples));
    EXPECT_EQ(predictor.PredictWithHistory(1000, kBase, kPage), std::nullopt);
    predictor.set_history_ready();
    EXPECT_NEAR(predictor.with_history().a, 1e-9, 1e-18);
    EXPECT_NEAR(predictor.with_history().b, 0.001, 1e-14);
    EXPECT_NEAR(predictor.with_history().c, 0.5, 1e-11);
    EXPECT_EQ(predictor.PredictWithHistory(1000, kBase, kPage), smooth == 0.8 ? 38784 : 46336);
    EXPECT_NEAR(predictor.GetTimeWithHistory(4096, 1000), 5.616873216, 1e-9);
  }
}

TEST(ChunkSizePredictor, GetTimeIsTheDifferenceOfTwoPrompts) {
  const ChunkSizePredictor predictor = FittedPredictor();
  EXPECT_NEAR(predictor.GetTime(4096, 4096), 91.291648, 1e-11);
  EXPECT_NEAR(predictor.GetTime(8192, 0), 149.028864, 1e-11);
}

TEST(ChunkSizePredictor, StopsFittingAfterThirtySamples) {
  ChunkSizePredictor predictor({.max_fit_chunk = 30});
  std::vector<StepSample> samples;
  for (int i = 1; i <= 31; ++i) {
    samples.push_back(Sample(1000 + 10 * i, 500 * i, 5 + i));
    EXPECT_EQ(predictor.FitChunk(samples), 5 <= i && i <= 30) << i;
    EXPECT_EQ(predictor.history_fitted(), i > 30) << i;
  }
  ChunkSizePredictor longer({.max_fit_chunk = 40}), release({.max_fit_chunk = 40, .release_behaviour = true});
  EXPECT_TRUE(longer.FitChunk(samples));
  EXPECT_FALSE(release.FitChunk(samples));
}

TEST(ChunkSizePredictor, ConstantTimesGiveNoChunk) {
  const ChunkSizePredictor predictor = ConstantPredictor(false);
  EXPECT_EQ(predictor.basic().a, 0);
  EXPECT_EQ(predictor.basic().b, 0);
  EXPECT_NEAR(predictor.basic().c, 10, 1e-12);
  EXPECT_EQ(predictor.target_ms(), 1.0);
  EXPECT_EQ(predictor.Predict(0, kBase, 16), std::nullopt);
  EXPECT_EQ(predictor.Predict(4096, kBase, 16), std::nullopt);
}

TEST(ChunkSizePredictor, ConstantTimesGiveTheReleaseItsFloor) {
  const ChunkSizePredictor predictor = ConstantPredictor(true);
  EXPECT_EQ(predictor.basic().a, 1e-9);
  EXPECT_NEAR(*predictor.target_ms(), 0.0671088640001809, 1e-12);
  EXPECT_EQ(predictor.Predict(0, kBase, 16), 8192);
  EXPECT_EQ(predictor.Predict(4096, kBase, 16), 5696);
}

TEST(ChunkSizePredictor, NegativeCoefficientsStayButInTheRelease) {
  std::vector<double> lens, times;
  for (int len = 1000; len <= 10000; len += 1000) {
    lens.push_back(len);
    times.push_back(-1e-7 * len * len + 0.02 * len);
  }
  ChunkSizePredictor head({.smooth_factor = 1, .min_chunk = 64});
  ChunkSizePredictor release({.smooth_factor = 1, .min_chunk = 64, .release_behaviour = true});
  for (ChunkSizePredictor* predictor : {&head, &release}) {
    ASSERT_TRUE(predictor->Fit(lens, times));
    predictor->SetTargetLatency(4096);
    predictor->set_ready();
  }
  EXPECT_NEAR(head.basic().a, -1e-7, 1e-15);
  EXPECT_EQ(head.Predict(0, 4096, 64), 4096);
  EXPECT_GT(head.Predict(8192, 4096, 64), 4096);
  EXPECT_EQ(release.basic().a, 1e-9);
  EXPECT_EQ(release.Predict(8192, 4096, 64), 4096);
}

TEST(ChunkSizePredictor, ATargetThatIsAskedForCounts) {
  const ChunkSizePredictor head = FittedPredictor();
  EXPECT_EQ(head.Predict(0, kBase, kPage, 1.0), 4096);
  EXPECT_EQ(head.Predict(0, kBase, kPage, 149.028864), 8192);
  EXPECT_EQ(FittedPredictor({.release_behaviour = true}).Predict(0, kBase, kPage, 1.0), 8192);
}

TEST(ChunkSizePredictor, RoundsUpToThePageButNotBelow64) {
  const ChunkSizePredictor predictor = FittedPredictor({.smooth_factor = 1, .min_chunk = 1});
  EXPECT_EQ(predictor.Predict(131072, kBase, 1), 576);  // exactly 544.7
  EXPECT_EQ(predictor.Predict(131072, kBase, 16), 576);
  EXPECT_EQ(predictor.Predict(131072, kBase, 1000), 1000);
  EXPECT_EQ(predictor.SmallestChunk(16), 64);
}

TEST(ChunkSizePredictor, SeesWhereTheHistoryAloneTakesTheTarget) {
  ChunkSizePredictor predictor;
  predictor.set_ready();
  predictor.SetTargetLatency(0, 10);
  EXPECT_FALSE(predictor.IsBeyondTarget(1 << 30));
  std::vector<StepSample> samples;
  for (int i = 0; i < 10; ++i) {
    const double c = 1000 + i * 100, h = i * 500;
    samples.push_back(Sample(c, h, 1e-7 * (c + h) * c + 0.001 * (c + h) + 0.5));
  }
  ASSERT_TRUE(predictor.FitChunk(samples));
  predictor.set_history_ready();
  EXPECT_FALSE(predictor.IsBeyondTarget(9400));
  EXPECT_TRUE(predictor.IsBeyondTarget(9600));
  EXPECT_EQ(predictor.PredictWithHistory(9600, kBase, kPage), std::nullopt);
}

TEST(LeastSquares, TakesTheSolutionOfLeastNormWhereThereAreMany) {
  // x + y = 2 twice over: numpy.linalg.lstsq gives 1, 1, 0.
  const std::vector<Triple> rows = {{1, 1, 0}, {2, 2, 0}};
  const std::vector<double> values = {2, 4};
  const Triple x = *LeastSquares(rows, values);
  EXPECT_NEAR(x[0], 1, 1e-14);
  EXPECT_NEAR(x[1], 1, 1e-14);
  EXPECT_NEAR(x[2], 0, 1e-14);
  EXPECT_EQ(LeastSquares({}, {}), std::nullopt);
}

TEST(LeastSquares, OneLengthAlone) {
  // Ten prompts of 4096 tokens: numpy.linalg.lstsq gives the row's direction.
  const std::vector<Triple> rows(10, {4096.0 * 4096, 4096, 1});
  const std::vector<double> values(10, 50.0);
  const Triple x = *LeastSquares(rows, values);
  const double norm = rows[0][0] * rows[0][0] + rows[0][1] * rows[0][1] + 1;
  for (size_t k = 0; k < 3; ++k) EXPECT_NEAR(x[k] / (rows[0][k] * 50 / norm), 1, 1e-9);
}

}  // namespace
}  // namespace penstock
