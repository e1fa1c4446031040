// Pipelines whose stages are in several processes, as far as one process can show it.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <latch>

#include "pipeline/testing/fake_job.h"

namespace penstock {
namespace {

using testing::FakeJob;
using testing::MakeChunk;
using testing::MakeStep;
using testing::Prompt;

const std::vector<std::pair<ProcessMap, int32_t>> kJobs = {
    {{{.pp = 2}, 2}, 0},          {{{.pp = 3}, 3}, 0},
    {{{.pp = 4}, 2}, 0},          {{{.pp = 2, .tp = 2}, 2}, 0},
    {{{.pp = 2, .tp = 2}, 4}, 0}, {{{.pcp = 3}, 3}, 0},
    {{{.dp = 2, .pp = 2}, 2}, 1},  // none of its ranks is in process 0
    {{{.dp = 2, .pp = 2}, 4}, 1}, {{{.dp = 2, .pp = 2, .tp = 2}, 8}, 1},
};

std::string NameOf(const ProcessMap& map) {
  return LayoutName(map.layout) + " in " + std::to_string(map.num_processes);
}

bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 10'000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

TEST(RemotePipelineTest, TokensAreTheRightOnes) {
  for (const auto& [map, replica] : kJobs) {
    SCOPED_TRACE(NameOf(map));
    FakeJob job(map, replica);
    uint64_t step_id = 0;
    for (SeqId seq = 1; seq <= 5; ++seq) {
      const auto prompt = Prompt(30, static_cast<int32_t>(seq));
      job.executor->Submit(MakeStep(++step_id, {MakeChunk(seq, prompt, 0, 11)}));
      job.executor->Submit(MakeStep(++step_id, {MakeChunk(seq, prompt, 11, 1)}));
      Chunk last = MakeChunk(seq, prompt, 12, 18);
      last.sample->prompt_ids.assign(100'000, 1);  // more than one message holds
      job.executor->Submit(MakeStep(++step_id, {std::move(last)}));
    }
    for (uint64_t id = 1; id <= step_id; ++id) {
      const StepResult result = job.Next();
      EXPECT_EQ(result.step_id, id);
      EXPECT_EQ(result.stamps.size(), static_cast<size_t>(map.layout.pp));
      if (id % 3 != 0) {
        EXPECT_TRUE(result.tokens.empty());
        continue;
      }
      ASSERT_EQ(result.tokens.size(), 1u);
      const auto seq = static_cast<int32_t>(id / 3);
      EXPECT_EQ(result.tokens[0].id, FakeModel::NextToken(Prompt(30, seq)));
    }
    // The word of the last one may come after its result.
    EXPECT_TRUE(Eventually([&] { return job.executor->FirstStage().num_steps == 0; }));
    EXPECT_FALSE(job.executor->FirstStage().begin_us.has_value());
    job.executor.reset();
    for (const auto& worker : job.workers) worker->Wait();
    EXPECT_TRUE(job.Errors().empty());
  }
}

// Stands before every forward pass of a rank until it is opened.
class Gate {
 public:
  explicit Gate(FakeModel& model) {
    model.on_forward = [this](const ModelBatch&) {
      ++passes_;
      open_.wait();
    };
  }
  void Open() { open_.count_down(); }
  int passes() const { return passes_; }

 private:
  std::latch open_{1};
  std::atomic<int> passes_{0};
};

TEST(RemotePipelineTest, CancelledSequencesAreDroppedEverywhere) {
  for (const auto& [map, replica] : kJobs) {
    SCOPED_TRACE(NameOf(map));
    FakeJob job(map, replica);
    Gate gate(*job.models[0]);
    const auto a = Prompt(40, 1), b = Prompt(40, 2);
    for (int32_t i = 0; i < 4; ++i) {
      job.executor->Submit(MakeStep(i + 1, {MakeChunk(1, a, 10 * i, 10), MakeChunk(2, b, 10 * i, 10)}));
    }
    EXPECT_TRUE(Eventually([&] { return gate.passes() > 0; }));
    job.executor->Cancel(1);
    // Where stage 0 is elsewhere the order has to get there.
    if (map.ProcessOf(replica * map.layout.ranks_per_replica()) != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    gate.Open();
    for (int32_t i = 0; i < 4; ++i) {
      const StepResult result = job.Next();
      if (i > 0) {  // of the first step, by stages that had not begun it
        EXPECT_EQ(result.skipped, std::vector<SeqId>{1}) << i;
      }
      if (i < 3) continue;
      ASSERT_EQ(result.tokens.size(), 1u);
      EXPECT_EQ(result.tokens[0].id, FakeModel::NextToken(b));
    }
    EXPECT_EQ(job.NumModelErrors(), 0);
  }
}

TEST(RemotePipelineTest, EndsWithStepsInFlight) {
  for (const auto& [map, replica] : kJobs) {
    for (int round = 0; round < 4; ++round) {
      FakeJob job(map, replica);
      const auto prompt = Prompt(100, 8);
      for (int32_t i = 0; i < 25; ++i) {
        job.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 4, 4)}));
      }
      if (round % 2 == 0) job.Next();
      if (round == 3) job.executor->Cancel(1);
    }
  }
}

TEST(RemotePipelineTest, AWorkerThatIsBehindHoldsUpTheOthers) {
  FakeJob job({{.pp = 2}, 2});
  Gate gate(*job.models[1]);
  std::atomic<int> first_steps = 0;
  job.models[0]->on_forward = [&](const ModelBatch&) { ++first_steps; };
  const auto prompt = Prompt(160, 3);
  for (int32_t i = 0; i < 40; ++i) {
    job.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 4, 4)}));
  }
  int seen = -1;
  while (seen != first_steps) {  // until nothing moves any more
    seen = first_steps;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_GE(seen, 2);
  EXPECT_LE(seen, NumHiddenBuffers(2) + 4);  // each side's buffers
  gate.Open();
  for (int32_t i = 0; i < 40; ++i) EXPECT_EQ(job.Next().step_id, static_cast<uint64_t>(i + 1));
  EXPECT_EQ(job.NumModelErrors(), 0);
}

TEST(RemotePipelineTest, AllEndsWhereARankIsGone) {
  for (const auto& [map, replica] : kJobs) {
    SCOPED_TRACE(NameOf(map));
    FakeJob job(map, replica);
    Gate gate(*job.models[map.layout.ranks_per_replica() - map.layout.ranks_per_stage()]);
    const auto prompt = Prompt(40, 3);
    for (int32_t i = 0; i < 4; ++i) {
      job.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 10, 10)}));
    }
    job.executor->Fail(Unavailable("process 1 is gone"));
    job.executor->Fail(Unavailable("so is process 2"));
    job.executor->Submit(MakeStep(5, {MakeChunk(2, prompt, 0, 10)}));
    for (uint64_t id = 1; id <= 5; ++id) {
      const StepResult result = job.Next();
      EXPECT_EQ(result.step_id, id);
      EXPECT_EQ(result.status.code(), StatusCode::kUnavailable);
      EXPECT_EQ(result.status.message(), "process 1 is gone");
    }
    EXPECT_EQ(job.executor->Failure().code(), StatusCode::kUnavailable);
    gate.Open();  // it was not gone after all: what it says now is not heard
  }
}

TEST(RemotePipelineTest, NobodyIsToldWhenThePipelineIsGone) {
  FakeJob job({{.pp = 2}, 2});
  job.executor->Fail(Unavailable("process 1 is gone"));
  std::atomic<int> begun = 0, ended = 0;
  job.executor->SetNotify([&] {
    ++begun;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    ++ended;
  });
  job.executor->Submit(MakeStep(1, {MakeChunk(1, Prompt(10, 3), 0, 10)}));
  EXPECT_TRUE(Eventually([&] { return begun == 1; }));
  job.executor.reset();
  EXPECT_EQ(ended, 1);
}

// A model whose rows are all the first lane's, as are those of a step of one token.
class FirstHasAll : public FakeModel {
 public:
  FirstHasAll(const LayerRange& range, int32_t lane) : FakeModel(range, testing::kBlockSize), lane_(lane) {
    on_forward = [this](const ModelBatch& batch) { received_own_rows = batch.hidden_is_own_rows; };
  }
  Mat OwnRows(const ModelBatch&, Mat hidden) const override {
    return lane_ == 0 ? hidden : hidden.Rows(0, 0);
  }

  std::atomic<bool> received_own_rows = false;

 private:
  const int32_t lane_;
};

TEST(RemotePipelineTest, ARankWithoutRowsKnowsThatTheOthersHaveThem) {
  std::vector<std::atomic<FirstHasAll*>> second(2);
  FakeJob job({{.pp = 2, .tp = 2}, 4}, 0, [&](const LayerRange& range, int32_t lane) {
    auto model = std::make_unique<FirstHasAll>(range, lane);
    if (range.has_head) second[lane] = model.get();
    return model;
  });
  job.executor->Submit(MakeStep(1, {MakeChunk(1, Prompt(1, 3), 0, 1)}));
  job.Next();
  EXPECT_TRUE(second[0].load()->received_own_rows);
  // The other lane may come later.
  EXPECT_TRUE(Eventually([&] { return second[1].load()->received_own_rows.load(); }));
}

// As a pipeline's own first stage does: of each step, or of none where none takes so long.
TEST(RemotePipelineTest, ToldWhenAFirstStageElsewhereHasEndedALongStep) {
  const auto prompt = Prompt(80, 3);
  for (const bool is_told : {false, true}) {
    FakeJob job({{.dp = 2, .pp = 2}, 2}, 1, {}, is_told ? 0 : 1'000'000'000);
    Gate gate(*job.models[1]);
    for (int32_t i = 0; i < 2; ++i) {
      job.executor->Submit(MakeStep(i + 1, {MakeChunk(1, prompt, i * 10, 10)}));
    }
    EXPECT_TRUE(Eventually([&] { return job.executor->FirstStage().num_steps == 0; }));
    EXPECT_TRUE(Eventually([&] { return job.num_notified == (is_told ? 2 : 0); })) << job.num_notified;
    gate.Open();
    for (int i = 0; i < 2; ++i) job.Next();
    EXPECT_TRUE(Eventually([&] { return job.num_notified == (is_told ? 4 : 2); }));
  }
}

TEST(RemotePipelineTest, OrdersAndResultsThatMakeNoSenseAreErrors) {
  FakeJob job({{.pp = 2}, 2});
  SendMessage({&job.endpoint(0), 1, kOrderChannel}, std::vector<std::byte>(3), nullptr, 0, {});
  SendMessage({&job.endpoint(1), 0, ResultChannel(0)}, std::vector<std::byte>(3), nullptr, 0, {});
  EXPECT_TRUE(Eventually([&] { return job.Errors().size() == 2; }));
  for (const Status& status : job.Errors()) EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace penstock
