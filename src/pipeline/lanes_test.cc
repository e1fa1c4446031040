// Stages of several ranks over fake models: every rank sees the same steps, one of them samples.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <set>

#include "pipeline/testing/fake_pipeline.h"

namespace penstock {
namespace {

using testing::FakePipeline;
using testing::MakeChunk;
using testing::MakeStep;
using testing::Prompt;

// What a rank was given to compute: of each step, the tokens and where they stand.
struct Seen {
  std::vector<int32_t> tokens, positions, wanted;
  bool sequence_parallel = false;
  bool operator==(const Seen&) const = default;
};

// Listens on all ranks. To be read when the pipeline is gone: the lanes beside the leader's may still be at
// work when its result is there.
class Listener {
 public:
  explicit Listener(FakePipeline& pipeline)
      : seen_(pipeline.models.size()), logit_rows_(seen_.size()), errors_(seen_.size()) {
    for (size_t rank = 0; rank < seen_.size(); ++rank) {
      pipeline.models[rank]->on_forward = [this, rank](const ModelBatch& batch) {
        Seen seen{.tokens = {batch.token_ids.begin(), batch.token_ids.end()},
                  .positions = {batch.positions.begin(), batch.positions.end()},
                  .wanted = {},
                  .sequence_parallel = batch.sequence_parallel};
        if (batch.wanted_rows) seen.wanted.assign(batch.wanted_rows->begin(), batch.wanted_rows->end());
        seen_[rank].push_back(std::move(seen));
      };
      pipeline.models[rank]->on_logits = [this, rank](int64_t num_rows) { logit_rows_[rank] += num_rows; };
      pipeline.models[rank]->on_error = [this, rank] { ++errors_[rank]; };
    }
  }

  const std::vector<Seen>& of(size_t rank) const { return seen_[rank]; }
  const std::vector<int64_t>& logit_rows() const { return logit_rows_; }
  int64_t num_errors() const { return std::accumulate(errors_.begin(), errors_.end(), int64_t{0}); }

 private:
  std::vector<std::vector<Seen>> seen_;
  std::vector<int64_t> logit_rows_;
  std::vector<int64_t> errors_;
};

TEST(LanesTest, EveryRankComputesEveryStepAndOneSamples) {
  const auto a = Prompt(20, 1), b = Prompt(9, 2);
  FakePipeline pipeline(2, 0, 2);
  Listener listener(pipeline);
  Chunk scored = MakeChunk(1, a, 8, 12);
  scored.logprob_targets.assign(12, 5);
  pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, a, 0, 8)}));
  pipeline.executor->Submit(MakeStep(2, {MakeChunk(2, b, 0, 9), scored}));
  EXPECT_TRUE(pipeline.Next().tokens.empty());
  const StepResult result = pipeline.Next();
  ASSERT_EQ(result.tokens.size(), 2u);
  EXPECT_EQ(result.tokens[0].id, FakeModel::NextToken(b));
  EXPECT_EQ(result.tokens[1].id, FakeModel::NextToken(a));
  ASSERT_EQ(result.prompt_logprobs.size(), 1u);
  EXPECT_EQ(result.prompt_logprobs[0].positions.size(), 12u);
  ASSERT_EQ(result.stamps.size(), 2u);  // the leaders'
  EXPECT_EQ(result.stamps[1].stage, 1);
  pipeline.executor.reset();  // joins the other lane too
  EXPECT_EQ(listener.of(0).size(), 2u);
  for (size_t rank = 1; rank < 4; ++rank) {
    ASSERT_EQ(listener.of(rank).size(), 2u);
    EXPECT_EQ(listener.of(rank)[1].tokens, listener.of(0)[1].tokens);
  }
  EXPECT_EQ(listener.of(3), listener.of(2));  // the wanted rows too
  EXPECT_EQ(listener.of(3)[1].wanted.size(), 14u);
}

TEST(LanesTest, LogitsAreComputedByAllRanksOfTheLastStage) {
  FakePipeline pipeline(2, 0, 3);
  Listener listener(pipeline);
  const auto prompt = Prompt(12, 3);
  Chunk chunk = MakeChunk(1, prompt, 0, 12);
  chunk.logprob_targets.assign(12, 5);
  pipeline.executor->Submit(MakeStep(1, {chunk}));
  pipeline.Next();
  pipeline.executor.reset();
  EXPECT_EQ(listener.logit_rows(), (std::vector<int64_t>{0, 0, 0, 13, 13, 13}));
}

TEST(LanesTest, LargeStepsAreSequenceParallelOnEveryRank) {
  FakePipeline pipeline(2, 0, 2);
  Listener listener(pipeline);
  const auto prompt = Prompt(24, 4);
  pipeline.executor->Submit(MakeStep(1, {MakeChunk(1, prompt, 0, 12)}));
  pipeline.executor->SetSequenceParallelMinTokens(8);
  pipeline.executor->Submit(MakeStep(2, {MakeChunk(1, prompt, 12, 8)}));
  pipeline.executor->Submit(MakeStep(3, {MakeChunk(1, prompt, 20, 4)}));
  for (int i = 0; i < 3; ++i) pipeline.Next();
  pipeline.executor.reset();
  for (size_t rank = 0; rank < 4; ++rank) {
    ASSERT_EQ(listener.of(rank).size(), 3u);
    EXPECT_FALSE(listener.of(rank)[0].sequence_parallel);
    EXPECT_TRUE(listener.of(rank)[1].sequence_parallel);
    EXPECT_FALSE(listener.of(rank)[2].sequence_parallel);
  }
}

// Sequences of random lengths in random steps, some of them cancelled while they are in flight.
class RandomLoad {
 public:
  RandomLoad(FakePipeline& pipeline, uint32_t seed) : pipeline_(pipeline), random_(seed) {
    for (SeqId seq = 1; seq <= 3; ++seq) Begin(seq);
  }

  void SubmitStep() {
    std::vector<Chunk> chunks;
    for (auto& [seq, state] : running_) {
      const int32_t rest = static_cast<int32_t>(state.prompt.size()) - state.pos;
      if (rest == 0 || Below(4) == 0) continue;
      const int32_t len = 1 + Below(std::min(rest, 20));
      chunks.push_back(MakeChunk(seq, state.prompt, state.pos, len));
      state.pos += len;
    }
    if (chunks.empty()) return;
    pipeline_.executor->Submit(MakeStep(++step_id_, std::move(chunks)));
    ++in_flight_;
  }

  void CancelOne() {
    const SeqId seq = 1 + Below(3);
    if (cancelled_.insert(seq).second) {
      pipeline_.executor->Cancel(seq);
      running_.erase(seq);
    }
  }

  // Takes a result; what was cancelled may begin anew when nothing is in flight.
  void Take() {
    if (in_flight_ == 0) return;
    const StepResult result = pipeline_.Next();
    num_skipped_ += static_cast<int>(result.skipped.size());
    for (SeqId seq : result.skipped) EXPECT_TRUE(cancelled_.contains(seq));
    for (const SampledToken& token : result.tokens) {
      if (cancelled_.contains(token.seq)) continue;
      EXPECT_EQ(token.id, FakeModel::NextToken(running_.at(token.seq).prompt));
    }
    if (--in_flight_ > 0) return;
    std::erase_if(running_, [](const auto& entry) {
      return entry.second.pos == static_cast<int32_t>(entry.second.prompt.size());
    });
    cancelled_.clear();
    for (SeqId seq = 1; seq <= 3; ++seq) Begin(seq);
  }

  int32_t Below(int32_t limit) { return static_cast<int32_t>(random_() % static_cast<uint32_t>(limit)); }
  int in_flight() const { return in_flight_; }
  int num_skipped() const { return num_skipped_; }

 private:
  struct State {
    std::vector<TokenId> prompt;
    int32_t pos = 0;
  };

  void Begin(SeqId seq) {
    if (!running_.contains(seq)) running_[seq] = {Prompt(1 + Below(40), ++salt_), 0};
  }

  FakePipeline& pipeline_;
  std::mt19937 random_;
  std::map<SeqId, State> running_;
  std::set<SeqId> cancelled_;
  uint64_t step_id_ = 0;
  int32_t salt_ = 0;
  int in_flight_ = 0;
  int num_skipped_ = 0;
};

TEST(LanesTest, AllRanksDropTheSameChunks) {
  int num_skipped = 0;
  for (uint32_t seed = 1; seed <= 4; ++seed) {
    FakePipeline pipeline(2, 0, 2);
    Listener listener(pipeline);
    RandomLoad load(pipeline, seed);
    for (int i = 0; i < 200; ++i) {
      if (load.in_flight() < 6) load.SubmitStep();
      if (load.Below(4) == 0) load.CancelOne();
      if (load.Below(2) == 0 || load.in_flight() == 6) load.Take();
    }
    while (load.in_flight() > 0) load.Take();
    num_skipped += load.num_skipped();
    pipeline.executor.reset();
    EXPECT_EQ(listener.num_errors(), 0);
    EXPECT_EQ(listener.of(1), listener.of(0));
    EXPECT_EQ(listener.of(3), listener.of(2));
    ASSERT_EQ(listener.of(2).size(), listener.of(0).size());
    for (size_t i = 0; i < listener.of(0).size(); ++i) {
      EXPECT_EQ(listener.of(2)[i].tokens, listener.of(0)[i].tokens);
    }
  }
  EXPECT_GT(num_skipped, 0);
}

TEST(LanesTest, EndsWithStepsInFlight) {
  for (int round = 0; round < 20; ++round) {
    FakePipeline pipeline(2, 0, 2);
    const auto prompt = Prompt(100, 8);
    for (int32_t i = 0; i < 25; ++i) {
      pipeline.executor->Submit(MakeStep(static_cast<uint64_t>(i + 1), {MakeChunk(1, prompt, i * 4, 4)}));
    }
    if (round % 2 == 0) pipeline.Next();
  }
}

// A model whose own rows are all but the first.
class RestModel : public FakeModel {
 public:
  using FakeModel::FakeModel;
  void Forward(const ModelBatch& batch, Mat hidden) override {
    is_own_rows = batch.hidden_is_own_rows;
    for (int64_t row = 0; row < hidden.rows; ++row) seen.push_back(hidden.Row<float>(row)[0]);
  }
  Mat OwnRows(const ModelBatch&, Mat hidden) const override { return hidden.Rows(1, hidden.rows - 1); }

  bool is_own_rows = false;
  std::vector<float> seen;
};

TEST(StageTest, ReceivedRowsAreMovedToWhereTheModelHasItsOwn) {
  const ModelOptions options = {.dtype = DType::kF32, .block_size = 4, .max_batched_tokens = 8};
  CancelSet cancelled;
  auto model = std::make_unique<RestModel>(LayerRange{1, 2, false, false}, 4);
  RestModel& seen = *model;
  RankRuntime runtime;
  runtime.team = std::make_unique<ThreadTeam>(1);
  runtime.model = std::move(model);
  Stage stage(1, std::move(runtime), options, cancelled);
  StagePacket packet;
  packet.step = MakeStep(1, {MakeChunk(1, Prompt(8, 1), 0, 3)});
  packet.hidden = Buffer(sizeof(float) * FakeModel::kHiddenDim * 8);
  packet.hidden_is_own_rows = true;
  for (int i = 0; i < 2; ++i)
    packet.hidden.as<float>()[i * FakeModel::kHiddenDim] = static_cast<float>(i + 5);
  stage.Execute(packet);
  EXPECT_TRUE(seen.is_own_rows);
  EXPECT_EQ(seen.seen[1], 5);
  EXPECT_EQ(seen.seen[2], 6);
  EXPECT_FALSE(packet.hidden_is_own_rows);  // from here on they are as the model leaves them
}

TEST(RankGroupsTest, SharesFollowTheOrderOfRanks) {
  const ParallelLayout layout{.pp = 2, .pcp = 2, .tp = 2, .expert_parallel = true};
  const RankShare share = ShareOf(layout, 6);  // stage 1, pcp 1, tp 0
  EXPECT_EQ(share.tp_rank, 0);
  EXPECT_EQ(share.pcp_rank, 1);
  EXPECT_EQ(share.ep_rank, 2);
  EXPECT_EQ(share.ep_size, 4);
  const std::vector<RankGroups> groups = MakeLocalGroups(layout);
  ASSERT_EQ(groups.size(), 8u);
  EXPECT_EQ(groups[6].tp->rank(), 0);
  EXPECT_EQ(groups[6].pcp->rank(), 1);
  EXPECT_EQ(groups[6].ep->rank(), 2);
  EXPECT_EQ(groups[6].stage->rank(), 2);
  EXPECT_EQ(groups[6].stage->size(), 4);
  EXPECT_EQ(MakeLocalGroups({.pp = 2, .tp = 2})[0].pcp, nullptr);
  EXPECT_EQ(MakeLocalGroups({.pp = 2})[1].stage, nullptr);
}

TEST(RankGroupsTest, ExpertsSpanReplicas) {
  const ParallelLayout layout{.dp = 2, .tp = 2, .expert_parallel = true};
  EXPECT_EQ(ShareOf(layout, 3).ep_rank, 3);
  const std::vector<RankGroups> groups = MakeLocalGroups(layout);
  EXPECT_EQ(groups[3].ep->rank(), 3);
  EXPECT_EQ(groups[3].ep->size(), 4);
  EXPECT_EQ(groups[3].stage->size(), 2);
}

}  // namespace
}  // namespace penstock
