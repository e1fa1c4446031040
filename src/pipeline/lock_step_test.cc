// Replicas in lock step, over fake models that meet at a barrier in every forward pass, as MoE layers do.
//
// SPDX-License-Identifier: Apache-2.0
#include "pipeline/lock_step.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <latch>
#include <thread>

#include "pipeline/fake_model.h"
#include "pipeline/pipeline.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 4;

class LockStepTest : public testing::Test {
 protected:
  void Start(int num_replicas, int32_t num_stages, bool meet = true) {
    std::vector<std::unique_ptr<Executor>> pipelines;
    models_.assign(num_replicas, std::vector<FakeModel*>(num_stages));
    seen_.assign(num_replicas, std::vector<std::vector<int32_t>>(num_stages));
    notified_ = std::vector<std::atomic<int>>(num_replicas);
    for (int32_t stage = 0; stage < num_stages; ++stage) {
      barriers_.push_back(std::make_unique<std::barrier<>>(num_replicas));
    }
    for (int replica = 0; replica < num_replicas; ++replica) {
      pipelines.push_back(MakePipeline(replica, num_stages, meet));
    }
    all_ = std::make_unique<LockStepPipelines>(std::move(pipelines));
    for (int replica = 0; replica < num_replicas; ++replica) {
      all_->replica(replica).SetNotify([this, replica] { ++notified_[replica]; });
    }
  }

  std::unique_ptr<Executor> MakePipeline(int replica, int32_t num_stages, bool meet) {
    PipelineOptions options;
    options.num_stages = num_stages;
    options.told_step_us = 0;
    options.run_empty_steps = true;
    options.model = {.dtype = DType::kF32,
                     .block_size = kBlockSize,
                     .max_batched_tokens = 64,
                     .max_model_len = 256,
                     .max_logit_rows = 3};
    auto pipeline = Pipeline::Create(options, [=, this](int32_t stage, int32_t) -> Result<RankRuntime> {
      LayerRange range{stage, stage + 1, stage == 0, stage + 1 == num_stages};
      auto model = std::make_unique<FakeModel>(range, kBlockSize);
      models_[replica][stage] = model.get();
      model->on_forward = [=, this](const ModelBatch& batch) {
        seen_[replica][stage].push_back(static_cast<int32_t>(batch.token_ids.size()));
        if (stage == 0 && gate_) gate_->wait();
        if (meet) barriers_[stage]->arrive_and_wait();
      };
      RankRuntime rank;
      rank.team = std::make_unique<ThreadTeam>(1);
      rank.model = std::move(model);
      return rank;
    });
    EXPECT_TRUE(pipeline.ok());
    return *std::move(pipeline);
  }

  // A whole prompt in one chunk, whose next token is sampled.
  static std::vector<TokenId> Prompt(SeqId seq, int32_t len) {
    std::vector<TokenId> ids(len);
    for (int32_t i = 0; i < len; ++i)
      ids[i] = (i * 7 + static_cast<int32_t>(seq) * 13) % FakeModel::kVocabSize;
    return ids;
  }
  static Chunk WholePrompt(SeqId seq, int32_t len) {
    Chunk chunk;
    chunk.seq = seq;
    chunk.len = len;
    chunk.token_ids = Prompt(seq, len);
    for (int32_t i = 0; i * kBlockSize < len; ++i)
      chunk.block_ids.push_back(static_cast<BlockId>(seq * 16 + i));
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
    return chunk;
  }
  void Submit(int replica, uint64_t step_id, std::vector<Chunk> chunks) {
    auto step = std::make_unique<Step>();
    step->step_id = step_id;
    step->chunks = std::move(chunks);
    all_->replica(replica).Submit(std::move(step));
  }
  StepResult Next(int replica) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::chrono::steady_clock::now() < deadline) {
      if (auto result = all_->replica(replica).Poll()) return *result;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    ADD_FAILURE() << "no result";
    return {};
  }

  std::vector<std::vector<FakeModel*>> models_;            // [replica][stage]
  std::vector<std::vector<std::vector<int32_t>>> seen_;    // [replica][stage]: tokens of each forward pass
  std::vector<std::unique_ptr<std::barrier<>>> barriers_;  // [stage]
  std::vector<std::atomic<int>> notified_;                 // [replica]
  std::unique_ptr<std::latch> gate_;                       // which first stages wait for; null: none
  std::unique_ptr<LockStepPipelines> all_;
};

TEST_F(LockStepTest, EveryRankRunsEveryWaveAndEnginesSeeTheirOwnSteps) {
  Start(3, 2);
  constexpr int kSteps = 40;
  std::vector<std::thread> engines;
  for (int replica = 0; replica < 2; ++replica) {  // the third one has no work
    engines.emplace_back([this, replica] {
      for (uint64_t id = 1; id <= kSteps; ++id) {
        const auto len = static_cast<int32_t>(1 + (id * 5 + static_cast<uint64_t>(replica)) % 11);
        Submit(replica, id, {WholePrompt(id, len)});
        if (id % 3 != 0) continue;
        for (uint64_t back = id - 2; back <= id; ++back) {
          const StepResult result = Next(replica);
          const auto back_len = static_cast<int32_t>(1 + (back * 5 + static_cast<uint64_t>(replica)) % 11);
          EXPECT_EQ(result.step_id, back);
          ASSERT_EQ(result.tokens.size(), 1u);
          EXPECT_EQ(result.tokens[0].id, FakeModel::NextToken(Prompt(back, back_len)));
          EXPECT_EQ(result.stamps.size(), 2u);
        }
      }
      EXPECT_EQ(Next(replica).step_id, uint64_t{kSteps});
    });
  }
  for (std::thread& engine : engines) engine.join();
  const LockStepPipelines::Counts counts = all_->counts();
  EXPECT_GE(counts.waves, uint64_t{kSteps});
  EXPECT_EQ(3 * counts.waves, 2 * kSteps + counts.empty_steps);
  all_.reset();  // all has ended
  for (const auto& stages : seen_) {
    for (const auto& passes : stages) EXPECT_EQ(passes.size(), counts.waves);
    EXPECT_EQ(stages[0], stages[1]);
  }
  EXPECT_EQ(notified_[2], 0);  // nothing wakes an engine without work
}

TEST_F(LockStepTest, StepsPairUpWhileTheFirstStageIsBusy) {
  gate_ = std::make_unique<std::latch>(1);
  Start(2, 1);
  for (uint64_t id = 1; id <= 5; ++id) {
    for (int replica : {0, 1}) Submit(replica, id, {WholePrompt(id, 4)});
  }
  EXPECT_EQ(all_->counts().waves, 2u);  // A1 and B1, each alone; the others wait
  gate_->count_down();
  for (uint64_t id = 1; id <= 5; ++id) {
    for (int replica : {0, 1}) EXPECT_EQ(Next(replica).step_id, id);
  }
  EXPECT_EQ(all_->counts().waves, 6u);
  EXPECT_EQ(all_->counts().empty_steps, 2u);
}

TEST_F(LockStepTest, NothingRunsWhereNobodyHasWork) {
  Start(2, 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(all_->counts().waves, 0u);
  Submit(1, 1, {WholePrompt(1, 4)});
  Next(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(all_->counts().waves, 1u);
  EXPECT_EQ(all_->replica(0).Poll(), nullptr);
}

TEST_F(LockStepTest, FirstStageIsThatOfTheReplicasOwnSteps) {
  gate_ = std::make_unique<std::latch>(1);
  Start(2, 1);
  Submit(0, 1, {WholePrompt(1, 4)});
  for (uint64_t id = 1; id <= 3; ++id) Submit(1, id, {WholePrompt(id, 4)});
  while (!all_->replica(0).FirstStage().begin_us) std::this_thread::yield();
  EXPECT_EQ(all_->replica(0).FirstStage().num_steps, 1);
  EXPECT_EQ(all_->replica(1).FirstStage().num_steps, 3);
  EXPECT_FALSE(all_->replica(1).FirstStage().begin_us);  // it works on an empty step
  gate_->count_down();
  Next(0);
  for (int i = 0; i < 3; ++i) Next(1);
  EXPECT_EQ(all_->replica(1).FirstStage().num_steps, 0);
}

TEST_F(LockStepTest, CancelledChunksThatWaitForAWaveAreNeverRun) {
  gate_ = std::make_unique<std::latch>(1);
  Start(2, 2);
  Submit(0, 1, {WholePrompt(1, 5)});
  Submit(0, 2, {WholePrompt(2, 6)});
  Submit(0, 3, {WholePrompt(3, 7), WholePrompt(4, 8)});
  Submit(0, 4, {WholePrompt(3, 9)});
  all_->replica(0).Cancel(3);
  gate_->count_down();
  EXPECT_TRUE(Next(0).skipped.empty());
  EXPECT_TRUE(Next(0).skipped.empty());
  const StepResult third = Next(0);
  EXPECT_EQ(third.skipped, std::vector<SeqId>{3});
  ASSERT_EQ(third.tokens.size(), 1u);
  EXPECT_EQ(third.tokens[0].id, FakeModel::NextToken(Prompt(4, 8)));
  EXPECT_EQ(Next(0).skipped, std::vector<SeqId>{3});
  all_.reset();
  EXPECT_EQ(seen_[0][0], (std::vector<int32_t>{5, 6, 8, 0}));
  EXPECT_EQ(seen_[1][1], (std::vector<int32_t>{0, 0, 0, 0}));
}

TEST_F(LockStepTest, EndsWithStepsInFlight) {
  Start(2, 2);
  for (uint64_t id = 1; id <= 50; ++id) Submit(static_cast<int>(id % 2), 1 + id / 2, {WholePrompt(id, 4)});
  const uint64_t waves = all_->counts().waves;
  all_.reset();
  for (const auto& stages : seen_) {
    EXPECT_GE(stages[1].size(), waves);
    EXPECT_EQ(stages[0].size(), seen_[0][0].size());
    EXPECT_EQ(stages[1].size(), seen_[0][0].size());
  }
}

// As a pipeline does whose first stage tells, at the end, of a step whose result has been taken.
class LateTeller : public Executor {
 public:
  ~LateTeller() override { notify_(); }
  int num_stages() const override { return 1; }
  void Submit(std::unique_ptr<Step>) override {}
  std::unique_ptr<StepResult> Poll() override { return nullptr; }
  FirstStageLoad FirstStage() const override { return {}; }
  void SetNotify(std::function<void()> notify) override { notify_ = std::move(notify); }
  void Cancel(SeqId) override {}

 private:
  std::function<void()> notify_;
};

TEST(LockStepEndTest, PipelinesMayTellWhileTheyEnd) {
  std::vector<std::unique_ptr<Executor>> pipelines;
  for (int i = 0; i < 2; ++i) pipelines.push_back(std::make_unique<LateTeller>());
  const LockStepPipelines all(std::move(pipelines));
}

}  // namespace
}  // namespace penstock
