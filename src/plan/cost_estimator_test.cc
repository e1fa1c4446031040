// SPDX-License-Identifier: Apache-2.0
#include "plan/cost_estimator.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "plan/testing/cost_samples.h"
#include "plan/testing/measured_costs.h"

namespace penstock {
namespace {

constexpr Noise kNoise = {.sigma = 0.05, .outliers = 0.01};

// A pipeline whose stages take what `truth` says, times `speed`, and a gap before each.
class FakePipeline {
 public:
  FakePipeline(const WholeModelCost& whole, int num_stages, Noise noise = kNoise)
      : noise_(noise), truth_(MakeBalancedCost(whole, num_stages)), end_us_(num_stages, 1000) {
    for (StageCost& cost : truth_.stages) {
      cost.seq_us = 200;
      cost.decode_token_us = 300;
      cost.decode_context_us = 0.05;
    }
  }

  std::vector<StageStamp> Run(const StepWork& work) {
    std::vector<StageStamp> stamps;
    int64_t recv_us = end_us_[0] - 50;  // had been waiting
    for (size_t s = 0; s < end_us_.size(); ++s) {
      const int64_t begin_us = std::max(recv_us, end_us_[s]) + gap_us;
      end_us_[s] = begin_us + std::llround(truth_.stages[s].Predict(work) * slower * noise_(&rng));
      stamps.push_back(
          {.stage = static_cast<int32_t>(s), .recv_us = recv_us, .begin_us = begin_us, .end_us = end_us_[s]});
      recv_us = end_us_[s];
    }
    return stamps;
  }

  std::vector<std::vector<CostSample>> Grid() {
    std::vector<std::vector<CostSample>> grid;
    for (const StageCost& cost : truth_.stages) grid.push_back(GridSamples(cost, {.sigma = 0.03}, &rng));
    return grid;
  }

  StageCost truth() const {  // of the first stage, at the present speed
    StageCost cost = truth_.stages.front();
    for (double* value : {&cost.step_us, &cost.token_us, &cost.floor_us, &cost.pair_us, &cost.history_us,
                          &cost.seq_us, &cost.decode_token_us, &cost.decode_context_us}) {
      *value *= slower;
    }
    return cost;
  }
  CostModel model() const { return truth_; }

  double slower = 1;
  int64_t gap_us = 100;
  std::mt19937 rng{1};

 private:
  const Noise noise_;
  CostModel truth_;
  std::vector<int64_t> end_us_;
};

StepWork AnyPrompt(std::mt19937* rng) { return RandomPrompt(rng, 256); }
StepWork AnyStep(std::mt19937* rng) { return (*rng)() % 2 == 0 ? RandomDecode(rng) : AnyPrompt(rng); }
// One kind of traffic: a long prompt in chunks of one length.
StepWork SameChunks(std::mt19937* rng) { return Prompt((*rng)() % 16 * 8192.0, 8192); }

void Feed(CostEstimator* estimator, FakePipeline* pipeline, int count, StepWork (*make)(std::mt19937*)) {
  for (int i = 0; i < count; ++i) {
    const StepWork work = make(&pipeline->rng);
    estimator->OnStep(work, pipeline->Run(work));
  }
}

// Of the first stage without the gap.
double Error(const CostEstimator& estimator, const FakePipeline& pipeline, double share,
             StepWork (*make)(std::mt19937*)) {
  return ErrorOver(estimator.ModelToSave().stages.at(0), pipeline.truth(), share, make);
}

class EstimateOfMeasuredCosts : public testing::TestWithParam<MeasuredCost> {
 protected:
  FakePipeline pipeline_{GetParam().whole, 2};
  CostEstimator estimator_{2};
};
INSTANTIATE_TEST_SUITE_P(All, EstimateOfMeasuredCosts, testing::ValuesIn(kMeasuredCosts));

TEST_P(EstimateOfMeasuredCosts, GridThenSteps) {
  EXPECT_FALSE(estimator_.model().known());
  EXPECT_EQ(estimator_.version(), 0);
  ASSERT_TRUE(estimator_.SetGrid(pipeline_.Grid()));
  EXPECT_EQ(estimator_.version(), 1);
  EXPECT_LE(Error(estimator_, pipeline_, 0.9, AnyPrompt), 0.10);
  Feed(&estimator_, &pipeline_, 1500, AnyPrompt);
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, AnyPrompt), 0.02);
  EXPECT_LE(Error(estimator_, pipeline_, 0.9, AnyPrompt), 0.03);
}

TEST_P(EstimateOfMeasuredCosts, BeginsWithoutAPrior) {
  Feed(&estimator_, &pipeline_, 10, AnyPrompt);
  EXPECT_FALSE(estimator_.model().known()) << "of so few steps";
  Feed(&estimator_, &pipeline_, 190, AnyPrompt);
  ASSERT_TRUE(estimator_.model().known());
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, AnyPrompt), 0.03);
  Feed(&estimator_, &pipeline_, 1500, AnyStep);
  EXPECT_LE(Error(estimator_, pipeline_, 0.9, AnyStep), 0.04);
  Feed(&estimator_, &pipeline_, 150, RandomDecode);
  EXPECT_LE(Error(estimator_, pipeline_, 0.9, AnyPrompt), 0.04) << "remembered";
}

TEST_P(EstimateOfMeasuredCosts, OneKindOfTrafficDoesNotWashOutTheGrid) {
  ASSERT_TRUE(estimator_.SetGrid(pipeline_.Grid()));
  Feed(&estimator_, &pipeline_, 3000, SameChunks);
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, SameChunks), 0.01);
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, AnyPrompt), 0.03);
  Feed(&estimator_, &pipeline_, 1000, RandomDecode);
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, RandomDecode), 0.02);
  EXPECT_LE(Error(estimator_, pipeline_, 0.5, AnyPrompt), 0.05);
}

TEST_P(EstimateOfMeasuredCosts, FollowsALastingChangeOfSpeed) {
  for (const auto make : {AnyPrompt, SameChunks}) {
    FakePipeline pipeline(GetParam().whole, 2);
    CostEstimator estimator(2);
    ASSERT_TRUE(estimator.SetGrid(pipeline.Grid()));
    Feed(&estimator, &pipeline, 1000, make);
    for (double slower : {2.0, 1.0, 0.5}) {
      pipeline.slower = slower;
      Feed(&estimator, &pipeline, 200, make);
      EXPECT_LE(Error(estimator, pipeline, 0.5, make), 0.05) << slower;
      EXPECT_LE(Error(estimator, pipeline, 0.5, AnyPrompt), 0.06) << slower << ": what was not seen, too";
    }
  }
}

TEST(CostEstimator, FollowsSlowerDecodeAndLeavesPromptsAlone) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  ASSERT_TRUE(estimator.SetGrid(pipeline.Grid()));
  Feed(&estimator, &pipeline, 500, RandomDecode);
  pipeline.slower = 2;
  Feed(&estimator, &pipeline, 300, RandomDecode);
  EXPECT_LE(Error(estimator, pipeline, 0.5, RandomDecode), 0.10);
  pipeline.slower = 1;
  EXPECT_LE(Error(estimator, pipeline, 0.5, SameChunks), 0.25);
}

TEST(CostEstimator, ABriefDisturbanceChangesLittle) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  ASSERT_TRUE(estimator.SetGrid(pipeline.Grid()));
  Feed(&estimator, &pipeline, 500, AnyPrompt);
  pipeline.slower = 5;
  Feed(&estimator, &pipeline, 20, AnyPrompt);
  pipeline.slower = 1;
  EXPECT_LE(Error(estimator, pipeline, 0.9, AnyPrompt), 0.10);
  Feed(&estimator, &pipeline, 200, AnyPrompt);
  EXPECT_LE(Error(estimator, pipeline, 0.9, AnyPrompt), 0.03);
}

TEST(CostEstimator, ASavedModelIsThePrior) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  estimator.SetPrior(pipeline.model());
  EXPECT_EQ(estimator.version(), 1);
  EXPECT_EQ(estimator.model(), pipeline.model());
  Feed(&estimator, &pipeline, 2000, SameChunks);
  EXPECT_LE(Error(estimator, pipeline, 0.9, AnyStep), 0.03);
}

TEST(CostEstimator, PublishesOnlyWhatChangesPredictions) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2, {.sigma = 0.002});
  pipeline.gap_us = 0;
  CostEstimator estimator(2);
  estimator.SetPrior(pipeline.model());
  Feed(&estimator, &pipeline, 1000, AnyPrompt);
  EXPECT_EQ(estimator.version(), 1);
  pipeline.slower = 1.01;
  Feed(&estimator, &pipeline, 1000, AnyPrompt);
  EXPECT_EQ(estimator.version(), 1);
  pipeline.slower = 1.06;
  Feed(&estimator, &pipeline, 2000, AnyPrompt);
  EXPECT_GT(estimator.version(), 1);
  EXPECT_LE(Error(estimator, pipeline, 0.5, AnyPrompt), 0.025);

  CostEstimator eager(2, {.publish_threshold = 0.001});
  eager.SetPrior(pipeline.model());
  Feed(&eager, &pipeline, 2000, AnyPrompt);
  EXPECT_GT(eager.version(), estimator.version());
}

TEST(CostEstimator, TheGapOfTheHostIsPaidPerStep) {
  FakePipeline pipeline(kMeasuredCosts[3].whole, 3, {});
  pipeline.gap_us = 3000;
  CostEstimator estimator(3);
  estimator.SetPrior(pipeline.model());
  EXPECT_EQ(estimator.hop_gap_us(), 0);
  Feed(&estimator, &pipeline, 200, AnyPrompt);
  EXPECT_EQ(estimator.hop_gap_us(), 3000);
  for (int s = 0; s < 3; ++s) {
    EXPECT_NEAR(estimator.model().stages[s].step_us - estimator.ModelToSave().stages[s].step_us, 3000, 1e-6);
  }
  pipeline.gap_us = 10'000'000;  // the server had been idle
  Feed(&estimator, &pipeline, 20, AnyPrompt);
  EXPECT_EQ(estimator.hop_gap_us(), 3000);
  Feed(&estimator, &pipeline, 200, AnyPrompt);
  EXPECT_EQ(estimator.hop_gap_us(), 100'000) << "no more than that";
}

TEST(CostEstimator, TheFirstStepOfItsKindCountsForNothing) {
  const StageCost truth = {.step_us = 1000, .token_us = 10};
  CostEstimator estimator(1, {.publish_threshold = 0});
  estimator.SetPrior({{truth}});
  const auto step = [&](double tokens, double times) {
    const auto end_us = static_cast<int64_t>(times * truth.PredictChunk(0, tokens));
    estimator.OnStep(Prompt(0, tokens), std::vector<StageStamp>{{.stage = 0, .end_us = end_us}});
  };
  for (int shift = 0; shift < 14; ++shift) step(1 << shift, 9);
  EXPECT_EQ(estimator.recent_quality().num_samples, 0);
  EXPECT_EQ(estimator.model().stages[0], truth);
  for (int i = 0; i < 300; ++i) step(1 << (i % 14), 1);
  EXPECT_EQ(estimator.recent_quality().num_samples, 200);
  EXPECT_LE(estimator.recent_quality().p90_error, 0.001);
}

TEST(CostEstimator, AStageThatHadNothingToDoHadNoGap) {
  CostEstimator estimator(1);
  for (int64_t i = 1; i <= 10; ++i) {
    const int64_t recv_us = i * 1'000'000;
    estimator.OnStep(
        Prompt(0, 100),
        std::vector<StageStamp>{
            {.stage = 0, .recv_us = recv_us, .begin_us = recv_us + 50, .end_us = recv_us + 1000}});
  }
  EXPECT_EQ(estimator.hop_gap_us(), 50);
}

TEST(CostEstimator, StampsOfAnotherOrderAreIgnored) {
  const CostModel truth = {{{.step_us = 1000}, {.step_us = 2000}}};
  CostEstimator estimator(2, {.publish_threshold = 0});
  estimator.SetPrior(truth);
  const std::vector<StageStamp> stamps = {{.stage = 1, .end_us = 2000}, {.stage = 0, .end_us = 1000}};
  for (int i = 0; i < 300; ++i) estimator.OnStep(Prompt(0, 100), stamps);
  EXPECT_EQ(estimator.model(), truth);
}

TEST(CostEstimator, StepsThatTookNoTimeAreIgnored) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  ASSERT_TRUE(estimator.SetGrid(pipeline.Grid()));
  for (int i = 0; i < 1000; ++i) {
    const StepWork work = AnyPrompt(&pipeline.rng);
    std::vector<StageStamp> stamps = pipeline.Run(work);
    if (i % 3 != 0) stamps[0].end_us = stamps[0].begin_us - i;
    estimator.OnStep(work, stamps);
  }
  EXPECT_LE(Error(estimator, pipeline, 0.5, AnyPrompt), 0.02);
}

TEST(CostEstimator, NoStepIsFree) {
  CostEstimator estimator(1);
  estimator.SetPrior({{{.pair_us = 1}}});
  EXPECT_GT(estimator.model().BottleneckUs(WorkOf(ChunkShape{.len = 1, .is_decode = true})), 0);
}

TEST(CostEstimator, RecentQualityIsOfTheSlowestStage) {
  const CostModel truth = {{{.step_us = 1000}, {.step_us = 2000}}};
  CostEstimator estimator(2);
  estimator.SetPrior(truth);
  const std::vector<StageStamp> stamps = {{.stage = 0, .end_us = 5000}, {.stage = 1, .end_us = 2500}};
  estimator.OnStep(Prompt(0, 100), stamps);
  estimator.OnStep(Prompt(0, 100), stamps);
  EXPECT_EQ(estimator.recent_quality().num_samples, 1);
  EXPECT_NEAR(estimator.recent_quality().median_error, 0.2, 1e-9);
}

TEST(CostEstimator, AGridThatCannotBeFittedKeepsTheOldModel) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  auto grid = pipeline.Grid();
  for (CostSample& sample : grid[1]) sample.time_us = -1;
  EXPECT_FALSE(estimator.SetGrid(grid));
  EXPECT_FALSE(estimator.model().known());
  estimator.SetPrior(pipeline.model());
  EXPECT_FALSE(estimator.SetGrid(grid));
  EXPECT_EQ(estimator.model(), pipeline.model());
}

// What clocks and hosts may come up with.
class BadStamps
    : public testing::TestWithParam<std::function<void(std::vector<StageStamp>*, std::mt19937*)>> {
 protected:
  static void ExpectSound(const CostEstimator& estimator) {
    const CostModel& model = estimator.model();
    if (!model.known()) return;
    ASSERT_EQ(model.num_stages(), 2);
    std::mt19937 rng(9);
    for (const StageCost& cost : model.stages) {
      ASSERT_TRUE(cost.IsSound());
      for (int i = 0; i < 20; ++i) {
        const double predicted = cost.Predict(AnyStep(&rng));
        ASSERT_TRUE(std::isfinite(predicted) && predicted > 0) << predicted;
      }
    }
    ASSERT_TRUE(std::isfinite(estimator.hop_gap_us()) && estimator.hop_gap_us() >= 0);
    ASSERT_TRUE(std::isfinite(estimator.recent_quality().p90_error));
  }
};

constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
INSTANTIATE_TEST_SUITE_P(All, BadStamps,
                         testing::Values(
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps) s.end_us = s.begin_us;
                             },
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps) s.end_us = s.begin_us + 1;
                             },
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps) s.end_us = s.begin_us + 1'000'000;
                             },
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps) std::swap(s.begin_us, s.end_us);
                             },
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps)
                                 s.recv_us = kMin, s.begin_us = kMin, s.end_us = kMax;
                             },
                             [](auto* stamps, auto*) {
                               for (StageStamp& s : *stamps) s.end_us = s.begin_us + 1'000'000'000'000;
                             },
                             [](auto* stamps, auto* rng) {
                               for (StageStamp& s : *stamps)
                                 s.end_us = s.begin_us + (int64_t{1} << (*rng)() % 62);
                             },
                             [](auto* stamps, auto* rng) {
                               for (StageStamp& s : *stamps) {
                                 for (int64_t* t : {&s.recv_us, &s.begin_us, &s.end_us}) {
                                   if ((*rng)() % 3 == 0)
                                     *t = static_cast<int64_t>((uint64_t{(*rng)()} << 32 | (*rng)()) >>
                                                               (*rng)() % 64);
                                 }
                               }
                             },
                             [](auto* stamps, auto*) { std::swap(stamps->front(), stamps->back()); },
                             [](auto* stamps, auto*) { stamps->pop_back(); },
                             [](auto* stamps, auto*) { stamps->clear(); },
                             [](auto* stamps, auto*) { stamps->push_back(stamps->back()); }));

TEST_P(BadStamps, NeverMakeTheModelUnsound) {
  for (const bool with_grid : {true, false}) {
    for (const unsigned one_in : {1, 4}) {
      FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
      CostEstimator estimator(2);
      if (with_grid) estimator.SetGrid(pipeline.Grid());
      for (int i = 0; i < 600; ++i) {
        const StepWork work = AnyStep(&pipeline.rng);
        std::vector<StageStamp> stamps = pipeline.Run(work);
        if (pipeline.rng() % one_in == 0) GetParam()(&stamps, &pipeline.rng);
        estimator.OnStep(work, stamps);
        if (i % 20 == 0) ExpectSound(estimator);
      }
      ExpectSound(estimator);
      Feed(&estimator, &pipeline, 1000, AnyPrompt);  // and it recovers
      EXPECT_LE(Error(estimator, pipeline, 0.5, AnyPrompt), 0.06) << with_grid << " " << one_in;
    }
  }
}

TEST(CostEstimator, WorkThatIsNoneIsIgnored) {
  FakePipeline pipeline(kMeasuredCosts[0].whole, 2);
  CostEstimator estimator(2);
  estimator.SetPrior(pipeline.model());
  for (double bad : {std::nan(""), -1.0, std::numeric_limits<double>::infinity(), 1e300}) {
    for (double StepWork::* field : {&StepWork::tokens, &StepWork::pairs, &StepWork::history, &StepWork::seqs,
                                     &StepWork::decode_tokens, &StepWork::decode_context}) {
      StepWork work = Prompt(0, 1000);
      const auto stamps = pipeline.Run(work);
      work.*field = bad;
      for (int i = 0; i < 20; ++i) estimator.OnStep(work, stamps);
    }
  }
  EXPECT_EQ(estimator.recent_quality().num_samples, 0);
  EXPECT_EQ(estimator.model(), pipeline.model());
}

}  // namespace
}  // namespace penstock
