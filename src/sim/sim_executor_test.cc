// SPDX-License-Identifier: Apache-2.0
#include "sim/sim_executor.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

Chunk MakeChunk(SeqId seq, int32_t pos, std::vector<TokenId> token_ids, std::vector<BlockId> block_ids,
                bool sample) {
  Chunk chunk;
  chunk.seq = seq;
  chunk.pos = pos;
  chunk.len = static_cast<int32_t>(token_ids.size());
  chunk.token_ids = std::move(token_ids);
  chunk.block_ids = std::move(block_ids);
  if (sample) chunk.sample.emplace();
  return chunk;
}

class SimExecutorTest : public testing::Test {
 protected:
  void Make(SimConfig config) {
    config.num_blocks = 8;
    config.block_size = 2;
    executor_ = std::make_unique<SimExecutor>(std::move(config), clock_);
  }
  void Submit(std::vector<Chunk> chunks) {
    auto step = std::make_unique<Step>();
    step->step_id = next_step_id_++;
    step->chunks = std::move(chunks);
    executor_->Submit(std::move(step));
  }
  StepResult Next() {
    for (;;) {
      if (std::unique_ptr<StepResult> result = executor_->Poll()) return std::move(*result);
      clock_.AdvanceTo(std::max(*executor_->NextEventUs(), clock_.now_us()));
    }
  }

  VirtualClock clock_;
  std::unique_ptr<SimExecutor> executor_;
  uint64_t next_step_id_ = 1;
};

TEST_F(SimExecutorTest, StageRecurrence) {
  // Stage 0 takes 10, 20, 10; stage 1 takes 15 each time.
  Make({.num_stages = 2, .cost = [](const Step& step, int stage) -> int64_t {
          return stage == 1 ? 15 : step.step_id == 2 ? 20 : 10;
        }});
  for (int i = 0; i < 3; ++i) Submit({MakeChunk(1, 2 * i, {1, 2}, std::vector<BlockId>(i + 1, i), false)});
  const std::vector<StageStamp> first = Next().stamps, second = Next().stamps, third = Next().stamps;
  EXPECT_EQ(first[1].begin_us, 10);
  EXPECT_EQ(first[1].end_us, 25);
  EXPECT_EQ(second[0].begin_us, 10);
  EXPECT_EQ(second[0].end_us, 30);
  EXPECT_EQ(second[1].begin_us, 30);  // waits for stage 0
  EXPECT_EQ(third[0].end_us, 40);
  EXPECT_EQ(third[1].recv_us, 40);
  EXPECT_EQ(third[1].begin_us, 45);  // waits for the step before
  EXPECT_EQ(clock_.now_us(), 60);
  EXPECT_EQ(executor_->NextEventUs(), std::nullopt);
}

TEST_F(SimExecutorTest, TellsWhatIsBeforeTheFirstStage) {
  Make({.num_stages = 2, .cost = [](const Step&, int stage) -> int64_t { return stage == 0 ? 10 : 50; }});
  EXPECT_EQ(executor_->FirstStage().num_steps, 0);
  for (int i = 0; i < 2; ++i) Submit({MakeChunk(1, 2 * i, {1, 2}, std::vector<BlockId>(i + 1, i), false)});
  EXPECT_EQ(executor_->FirstStage().num_steps, 2);
  EXPECT_EQ(executor_->FirstStage().begin_us, 0);
  EXPECT_EQ(*executor_->NextEventUs(), 10);
  clock_.AdvanceTo(10);
  EXPECT_EQ(executor_->Poll(), nullptr);
  EXPECT_EQ(executor_->FirstStage().num_steps, 1);
  EXPECT_EQ(executor_->FirstStage().begin_us, 10);
  EXPECT_EQ(*executor_->NextEventUs(), 20);  // although nothing begins then
  clock_.AdvanceTo(20);
  EXPECT_EQ(executor_->Poll(), nullptr);
  EXPECT_EQ(executor_->FirstStage().num_steps, 0);
  EXPECT_EQ(executor_->FirstStage().begin_us, std::nullopt);
  EXPECT_EQ(*executor_->NextEventUs(), 60);
}

TEST_F(SimExecutorTest, TokensComeFromWhatTheBlocksHold) {
  Make({.num_stages = 1});
  Submit({MakeChunk(1, 0, {5, 6, 7}, {3, 0}, true)});
  const TokenId right = Next().tokens.at(0).id;
  EXPECT_EQ(right, SimSampler(1000).Generate({5, 6, 7}, {}, 1)[0]);
  // The same last token, over a block that another sequence has written since.
  Submit({MakeChunk(2, 0, {1, 2}, {3}, false)});
  Submit({MakeChunk(3, 2, {7}, {3, 0}, true)});
  Next();
  EXPECT_NE(Next().tokens.at(0).id, right);
}

TEST_F(SimExecutorTest, ReportsBreachesOfTheContract) {
  Make({.num_stages = 1});
  Submit({MakeChunk(1, 0, {5, 6, 7}, {3, 0}, false)});
  Submit({MakeChunk(2, 0, {5, 6}, {0}, false)});  // written while step 1 is in flight
  EXPECT_EQ(executor_->violations().size(), 1u);
  Submit({MakeChunk(3, 2, {5, 6}, {3, 1}, false)});  // read while step 1 writes it
  EXPECT_EQ(executor_->violations().size(), 2u);
  Submit({MakeChunk(4, 0, {5, 6, 7}, {4}, false)});  // too few blocks
  EXPECT_EQ(executor_->violations().size(), 3u);
}

TEST_F(SimExecutorTest, CancelledChunksAreSkippedByStagesThatHaveNotBegun) {
  Make({.num_stages = 2, .cost = SimpleStepCost{.per_token_us = 10}});
  Submit({MakeChunk(1, 0, {5, 6}, {0}, true)});
  Submit({MakeChunk(1, 2, {5, 6}, {0, 1}, true), MakeChunk(2, 0, {9}, {2}, true)});
  clock_.AdvanceTo(25);  // step 1 is in its last stage, step 2 in its first
  executor_->Cancel(1);
  const StepResult first = Next();
  EXPECT_TRUE(first.skipped.empty());
  EXPECT_EQ(first.tokens.size(), 1u);
  const StepResult second = Next();
  EXPECT_EQ(second.skipped, std::vector<SeqId>{1});
  ASSERT_EQ(second.tokens.size(), 1u);
  EXPECT_EQ(second.tokens[0].seq, 2u);
  EXPECT_EQ(second.stamps[0].end_us - second.stamps[0].begin_us, 30);
  EXPECT_EQ(second.stamps[1].end_us - second.stamps[1].begin_us, 10);
}

TEST_F(SimExecutorTest, Faults) {
  Make({.num_stages = 1, .cost = SimpleStepCost{.per_step_us = 10}, .fault = [](const Step& step) {
          return SimFault{.status = step.step_id == 1 ? Internal("bad") : OkStatus(), .delay_us = 7};
        }});
  Submit({MakeChunk(1, 0, {5}, {0}, true)});
  const StepResult bad = Next();
  EXPECT_EQ(bad.status.message(), "bad");
  EXPECT_TRUE(bad.tokens.empty());
  EXPECT_EQ(clock_.now_us(), 17);
  Submit({MakeChunk(1, 1, {6}, {0}, true)});
  EXPECT_NE(Next().tokens.at(0).id,
            SimSampler(1000).Generate({5, 6}, {}, 1)[0]);  // what failed was not written
}

TEST_F(SimExecutorTest, BannedTokensAreNotDrawn) {
  SimSampler sampler(3);
  SampleSpec spec;
  spec.banned = {0, 2};
  const std::vector<TokenId> history = {1, 2, 3};
  for (spec.draw_idx = 0; spec.draw_idx < 20; ++spec.draw_idx)
    EXPECT_EQ(sampler.Draw(1, history, spec).id, 1);
}

}  // namespace
}  // namespace penstock
