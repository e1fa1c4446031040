// The pipeline over fake models: order, hand-over, run-ahead, cancellation, errors at start.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/pipeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <latch>
#include <mutex>

#include "base/clock.h"
#include "pipeline/local_ranks.h"
#include "pipeline/testing/fake_pipeline.h"

namespace penstock {
namespace {

using testing::FakePipeline;
using testing::kBlockSize;
using testing::MakeChunk;
using testing::MakeStep;
using testing::Prompt;

TEST(PipelineTest, ChunksOfSeveralSequencesGiveTheRightTokensOnAnyNumberOfStages) {
  for (int32_t num_stages : {1, 2, 4}) {
    FakePipeline pipeline(num_stages);
    const auto a = Prompt(20, 1), b = Prompt(9, 2);
    pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, a, 0, 7)}));
    pipeline.executor->Submit(MakeStep(2, {MakeChunk(2, b, 0, 9), MakeChunk(1, a, 7, 1)}));
    pipeline.executor->Submit(MakeStep(3, {MakeChunk(1, a, 8, 12)}));
    EXPECT_TRUE(pipeline.Next().tokens.empty());
    const StepResult second = pipeline.Next();
    ASSERT_EQ(second.tokens.size(), 1u);
    EXPECT_EQ(second.tokens[0].seq, 2u);
    EXPECT_EQ(second.tokens[0].id, FakeModel::NextToken(b));
    const StepResult third = pipeline.Next();
    EXPECT_EQ(third.step_id, 3u);
    ASSERT_EQ(third.tokens.size(), 1u);
    EXPECT_EQ(third.tokens[0].id, FakeModel::NextToken(a));
    ASSERT_EQ(third.stamps.size(), static_cast<size_t>(num_stages));
    for (int32_t stage = 0; stage < num_stages; ++stage) {
      EXPECT_EQ(third.stamps[stage].stage, stage);
      EXPECT_LE(third.stamps[stage].begin_us, third.stamps[stage].end_us);
      EXPECT_TRUE(pipeline.models[stage]->errors.empty());
    }
  }
}

TEST(PipelineTest, PromptLogprobsComeForEveryTargetInPieces) {
  FakePipeline pipeline(2);
  const auto prompt = Prompt(10, 3);
  Chunk chunk = MakeChunk(1, prompt, 0, 10);
  chunk.logprob_targets.assign(prompt.begin() + 1, prompt.end());
  chunk.logprob_targets.push_back(-1);
  chunk.num_prompt_logprobs = 1;
  pipeline.executor->Submit(MakeStep(1, {chunk}));
  const StepResult result = pipeline.Next();
  ASSERT_EQ(result.prompt_logprobs.size(), 1u);
  EXPECT_EQ(result.prompt_logprobs[0].pos, 1);
  ASSERT_EQ(result.prompt_logprobs[0].positions.size(), 9u);
  for (size_t i = 0; i < 9; ++i) {
    const PositionLogprobs& position = result.prompt_logprobs[0].positions[i];
    EXPECT_EQ(position.chosen.id, prompt[i + 1]);
    ASSERT_EQ(position.top.size(), 1u);
    EXPECT_EQ(position.top[0].id, FakeModel::NextToken(std::span(prompt).first(i + 1)));
  }
  ASSERT_EQ(result.tokens.size(), 1u);
  EXPECT_EQ(result.tokens[0].id, FakeModel::NextToken(prompt));
}

TEST(PipelineTest, AFailureEndsStepsInFlightAndLaterOnes) {
  FakePipeline pipeline(2);
  std::latch begun(1), go_on(1);
  pipeline.models[1]->on_forward = [&](const ModelBatch&) {
    begun.count_down();
    go_on.wait();
  };
  const auto prompt = Prompt(8, 4);
  pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, prompt, 0, 8)}));
  begun.wait();
  pipeline.executor->Fail(Unavailable("process 1 is gone"));
  EXPECT_EQ(pipeline.executor->Failure().message(), "process 1 is gone");
  EXPECT_EQ(pipeline.Next().status.message(), "process 1 is gone");
  pipeline.executor->Submit(MakeStep(2, {MakeChunk(1, prompt, 0, 8)}));
  const StepResult later = pipeline.Next();
  EXPECT_EQ(later.step_id, 2u);
  EXPECT_EQ(later.status.code(), StatusCode::kUnavailable);
  go_on.count_down();  // what comes of it now is nobody's any more
}

TEST(PipelineTest, TheLastStageIsToldWhichRowsAreWanted) {
  FakePipeline pipeline(2);
  std::vector<std::vector<int32_t>> wanted;
  pipeline.models[0]->on_forward = [&](const ModelBatch& batch) { EXPECT_FALSE(batch.wanted_rows); };
  pipeline.models[1]->on_forward = [&](const ModelBatch& batch) {
    ASSERT_TRUE(batch.wanted_rows);
    wanted.emplace_back(batch.wanted_rows->begin(), batch.wanted_rows->end());
  };
  const auto prompt = Prompt(24, 4);
  pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, prompt, 0, 20)}));
  pipeline.executor->Submit(MakeStep(2, {MakeChunk(1, prompt, 20, 4)}));
  EXPECT_TRUE(pipeline.Next().tokens.empty());
  EXPECT_EQ(pipeline.Next().tokens[0].id, FakeModel::NextToken(prompt));
  EXPECT_EQ(wanted, (std::vector<std::vector<int32_t>>{{}, {3}}));
}

TEST(PipelineTest, TheFirstStageRunsAheadOfASlowLastStage) {
  FakePipeline pipeline(2, /*num_hidden_buffers=*/4);
  std::latch release(1);
  std::atomic<int> begun{0};
  pipeline.models[1]->on_forward = [&](const ModelBatch&) { release.wait(); };
  pipeline.models[0]->on_forward = [&](const ModelBatch&) { ++begun; };
  const auto prompt = Prompt(24, 4);
  for (int32_t i = 0; i < 6; ++i)
    pipeline.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 4, 4)}));
  while (begun < 4) std::this_thread::yield();  // the last stage has ended none
  EXPECT_EQ(pipeline.executor->Poll(), nullptr);
  release.count_down();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(pipeline.Next().tokens.empty());
  EXPECT_EQ(pipeline.Next().tokens[0].id, FakeModel::NextToken(prompt));
}

TEST(PipelineTest, TellsWhatIsBeforeTheFirstStageAndWhenItHasPassed) {
  FakePipeline pipeline(2);
  std::latch begun(1), release(1), last_release(1);
  pipeline.models[0]->on_forward = [&](const ModelBatch& batch) {
    if (batch.spans[0].pos > 0) return;
    begun.count_down();
    release.wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(6));  // long enough to be told of
  };
  pipeline.models[1]->on_forward = [&](const ModelBatch&) { last_release.wait(); };
  std::mutex mutex;
  std::condition_variable wake;
  int num_told = 0;
  pipeline.executor->SetNotify([&] {
    std::lock_guard lock(mutex);
    ++num_told;
    wake.notify_all();
  });
  const auto wait_for = [&](int count) {
    std::unique_lock lock(mutex);
    return wake.wait_for(lock, std::chrono::seconds(20), [&] { return num_told >= count; });
  };
  EXPECT_EQ(pipeline.executor->FirstStage().num_steps, 0);
  const auto prompt = Prompt(8, 4);
  const int64_t before_us = NowUs();
  for (int32_t i = 0; i < 2; ++i)
    pipeline.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 4, 4)}));
  begun.wait();
  const FirstStageLoad load = pipeline.executor->FirstStage();
  EXPECT_EQ(load.num_steps, 2);
  ASSERT_TRUE(load.begin_us.has_value());
  EXPECT_GE(*load.begin_us, before_us);
  EXPECT_LE(*load.begin_us, NowUs());
  release.count_down();
  EXPECT_TRUE(wait_for(1));  // the last stage has ended nothing
  EXPECT_EQ(pipeline.executor->Poll(), nullptr);
  EXPECT_LE(pipeline.executor->FirstStage().num_steps, 1);
  last_release.count_down();
  EXPECT_TRUE(wait_for(3));
  EXPECT_EQ(pipeline.executor->FirstStage().num_steps, 0);
  EXPECT_EQ(pipeline.executor->FirstStage().begin_us, std::nullopt);
}

TEST(PipelineTest, CancelledChunksAreSkippedAndTheirNeighboursUnharmed) {
  FakePipeline pipeline(2);
  std::latch first_begun(1), release(1);
  std::atomic<bool> armed{true};
  pipeline.models[1]->on_forward = [&](const ModelBatch&) {
    if (armed.exchange(false)) first_begun.count_down(), release.wait();
  };
  const auto a = Prompt(12, 5), b = Prompt(6, 6), c = Prompt(5, 7);
  pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, a, 0, 8)}));
  pipeline.executor->Submit(
      MakeStep(2, {MakeChunk(2, b, 0, 6), MakeChunk(1, a, 8, 4), MakeChunk(3, c, 0, 5)}));
  first_begun.wait();
  pipeline.executor->Cancel(1);
  release.count_down();
  EXPECT_TRUE(pipeline.Next().skipped.empty());
  const StepResult second = pipeline.Next();
  EXPECT_EQ(second.skipped, std::vector<SeqId>{1});
  ASSERT_EQ(second.tokens.size(), 2u);
  EXPECT_EQ(second.tokens[0].id, FakeModel::NextToken(b));
  EXPECT_EQ(second.tokens[1].id, FakeModel::NextToken(c));
  EXPECT_TRUE(pipeline.models[1]->errors.empty());
}

TEST(PipelineTest, AStageThatCannotBeMadeIsAnErrorNamingIt) {
  PipelineOptions options;
  options.num_stages = 3;
  auto pipeline = Pipeline::Create(options, [](int32_t stage, int32_t) -> Result<RankRuntime> {
    if (stage == 1) return NotFound("tensor x: missing");
    RankRuntime rank;
    rank.team = std::make_unique<ThreadTeam>(1);
    rank.model =
        std::make_unique<FakeModel>(LayerRange{stage, stage + 1, stage == 0, stage == 2}, kBlockSize);
    return rank;
  });
  ASSERT_FALSE(pipeline.ok());
  EXPECT_EQ(pipeline.status().message(), "stage 1: tensor x: missing");
}

TEST(PipelineTest, AStepWithoutChunksRunsTheModelOnlyWhereAskedFor) {
  for (const bool run_empty_steps : {false, true}) {
    FakePipeline pipeline(2, 0, 1, run_empty_steps);
    std::atomic<int> passes{0};
    for (FakeModel* model : pipeline.models) {
      model->on_forward = [&](const ModelBatch& batch) {
        ++passes;
        EXPECT_TRUE(batch.token_ids.empty());
      };
    }
    pipeline.executor->Submit(MakeStep(1, {}));
    const StepResult result = pipeline.Next();
    EXPECT_TRUE(result.tokens.empty());
    EXPECT_EQ(result.stamps.size(), 2u);
    EXPECT_EQ(passes, run_empty_steps ? 2 : 0);
  }
}

TEST(PipelineTest, EndsWithStepsInFlight) {
  FakePipeline pipeline(2);
  const auto prompt = Prompt(200, 8);
  for (int32_t i = 0; i < 50; ++i)
    pipeline.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 4, 4)}));
}

TEST(AssignCoresTest, SharesTheCoresAndHonoursTheOverride) {
  const std::vector<int> cores = {0, 1, 2, 3, 4};
  EXPECT_EQ(AssignCores(cores, 2, 0), (std::vector<std::vector<int>>{{0, 1, 2}, {3, 4}}));
  EXPECT_EQ(AssignCores(cores, 2, 1), (std::vector<std::vector<int>>{{0}, {1}}));
  EXPECT_EQ(AssignCores(cores, 2, 3), (std::vector<std::vector<int>>{{0, 1, 2}, {3, 4, 0}}));
  EXPECT_EQ(AssignCores(std::vector<int>{4}, 3, 0), (std::vector<std::vector<int>>{{4}, {4}, {4}}));
}

}  // namespace
}  // namespace penstock
