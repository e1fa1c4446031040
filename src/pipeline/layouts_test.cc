// Real models on pipelines of all layouts: the tokens are those of one rank.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <future>
#include <semaphore>

#include "base/affinity.h"
#include "model/expert_placement.h"
#include "model/testing/tiny_models.h"
#include "pipeline/local_ranks.h"
#include "pipeline/lock_step.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr int32_t kPromptLen = 75;

class LayoutsTest : public ::testing::TestWithParam<std::string> {
 protected:
  LayoutsTest() : config_(testing::WriteTinyModel(dir_, testing::TinyConfig(GetParam()))) {}

  std::unique_ptr<Pipeline> Load(const ParallelLayout& layout) {
    std::vector<RankGroups> groups = MakeLocalGroups(layout);
    return LoadReplica(layout, 0, groups);
  }

  // Replicas whose experts are spread over all of them.
  std::vector<std::unique_ptr<Executor>> LoadReplicas(const ParallelLayout& layout) {
    std::vector<RankGroups> groups = MakeLocalGroups(layout);
    std::vector<std::unique_ptr<Executor>> pipelines;
    replicas_.clear();
    for (int32_t dp = 0; dp < layout.dp; ++dp) {
      std::unique_ptr<Pipeline> pipeline = LoadReplica(layout, dp, groups);
      pipeline->SetSequenceParallelMinTokens(sequence_parallel_min_tokens_);
      replicas_.push_back(pipeline.get());
      pipelines.push_back(std::move(pipeline));
    }
    return MakeLockStep(std::move(pipelines));
  }

  // `groups`: of the world.
  std::unique_ptr<Pipeline> LoadReplica(const ParallelLayout& layout, int32_t dp,
                                        std::vector<RankGroups>& groups) {
    const int32_t first = dp * layout.ranks_per_replica();
    LocalRanksOptions ranks;
    ranks.model_dir = dir_.path();
    ranks.config = config_;
    ranks.model = options_;
    for (int32_t rank = first; rank < first + layout.ranks_per_replica(); ++rank) {
      const int32_t stage = CoordsOf(layout, rank).pp, num_layers = config_.num_layers;
      ranks.ranges.push_back({num_layers * stage / layout.pp, num_layers * (stage + 1) / layout.pp,
                              stage == 0, stage + 1 == layout.pp, ShareOf(layout, rank)});
      ranks.ranges.back().share.experts = experts_;
      ranks.groups.push_back(std::move(groups[rank]));
    }
    ranks.cores = AssignCores(UsableCores(), layout.ranks_per_replica(), 1);
    ranks.num_blocks = 16;
    PipelineOptions options;
    options.num_stages = layout.pp;
    options.num_lanes = layout.ranks_per_stage();
    options.model = options_;
    options.told_step_us = layout.dp > 1 ? 0 : options.told_step_us;
    options.run_empty_steps = layout.dp > 1;
    return Pipeline::Create(options, MakeLocalRankFactory(std::move(ranks))).value();
  }

  // A prompt in chunks, then some tokens, beside another prompt that is cancelled.
  std::vector<TokenId> Run(Executor& pipeline) {
    std::counting_semaphore<> wake(0);
    pipeline.SetNotify([&] { wake.release(); });
    std::vector<TokenId> tokens, output;
    for (int32_t i = 0; i < kPromptLen; ++i) tokens.push_back((i * 7 + 3) % config_.vocab_size);
    int32_t pos = 0;
    uint64_t step_id = 0;
    for (const int32_t len : {1, 40, 3, 31, 1, 1, 1}) {
      auto step = std::make_unique<Step>();
      step->step_id = ++step_id;
      step->chunks.push_back(MakeChunk(1, tokens, pos, len, 0));
      if (step_id == 3) step->chunks.insert(step->chunks.begin(), MakeChunk(2, tokens, 0, 20, 10));
      pipeline.Submit(std::move(step));
      if (step_id == 3) pipeline.Cancel(2);
      pos += len;
      std::unique_ptr<StepResult> result;
      while ((result = pipeline.Poll()) == nullptr) wake.acquire();
      for (const SampledToken& token : result->tokens) {
        if (token.seq != 1) continue;
        output.push_back(token.id);
        tokens.push_back(token.id);
      }
    }
    pipeline.SetNotify(nullptr);
    return output;
  }

  Chunk MakeChunk(SeqId seq, const std::vector<TokenId>& tokens, int32_t pos, int32_t len, BlockId block) {
    Chunk chunk;
    chunk.seq = seq;
    chunk.pos = pos;
    chunk.len = len;
    chunk.token_ids.assign(tokens.begin() + pos, tokens.begin() + pos + len);
    for (int32_t i = 0; i * kBlockSize < pos + len; ++i) chunk.block_ids.push_back(block + i);
    if (pos + len < static_cast<int32_t>(tokens.size())) return chunk;
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
    return chunk;
  }

  // Tokens that a run computes, whose experts are counted in each layer that has some: 2's are not among them
  // where it was cancelled in time.
  static constexpr uint64_t kRunTokens = kPromptLen + 3;
  static uint64_t CountedTokens(const RankCounters& counters, int32_t layer) {
    uint64_t sum = 0;
    for (const uint64_t count : counters.expert_tokens[layer]) sum += count;
    return sum;
  }

  testing::TempDir dir_;
  const ModelConfig config_;
  const ExpertPlacement* experts_ = nullptr;
  std::optional<int32_t> sequence_parallel_min_tokens_;
  std::vector<const Pipeline*> replicas_;  // of the last LoadReplicas()
  const ModelOptions options_ = {.dtype = DType::kF32,
                                 .block_size = kBlockSize,
                                 .max_batched_tokens = 64,
                                 .max_model_len = 128,
                                 .max_logit_rows = 2};
};

TEST_P(LayoutsTest, TokensAreThoseOfOneRank) {
  const std::vector<TokenId> expected = Run(*Load({}));
  ASSERT_EQ(expected.size(), 4u);
  for (const ParallelLayout& layout :
       {ParallelLayout{.tp = 2}, {.pcp = 2}, {.pp = 2, .tp = 2}, {.pp = 2, .pcp = 2}, {.pcp = 2, .tp = 2}}) {
    const std::unique_ptr<Pipeline> pipeline = Load(layout);
    EXPECT_EQ(Run(*pipeline), expected) << LayoutName(layout);
    pipeline->SetSequenceParallelMinTokens(2);
    EXPECT_EQ(Run(*pipeline), expected) << LayoutName(layout) << ", sequence-parallel";
  }
}

// One replica alone, the others with empty steps; then all of them at the same time.
TEST_P(LayoutsTest, ReplicasThatShareTheirExpertsGiveTheTokensOfOneRank) {
  if (config_.num_experts == 0) GTEST_SKIP() << "no experts";
  const std::vector<TokenId> expected = Run(*Load({}));
  for (const ParallelLayout& layout : {ParallelLayout{.dp = 2, .expert_parallel = true},
                                       {.dp = 2, .pp = 2, .expert_parallel = true},
                                       {.dp = 3, .expert_parallel = true},
                                       {.dp = 2, .pp = 2, .tp = 2, .expert_parallel = true},
                                       {.dp = 2, .pcp = 2, .expert_parallel = true}}) {
    // Each replica decides by its own step whether a wave is sequence-parallel there.
    for (const auto& min_tokens : {std::optional<int32_t>(), std::optional<int32_t>(20)}) {
      if (min_tokens && layout.tp == 1) continue;
      sequence_parallel_min_tokens_ = min_tokens;
      const std::vector<std::unique_ptr<Executor>> replicas = LoadReplicas(layout);
      EXPECT_EQ(Run(*replicas[1]), expected) << LayoutName(layout);
      auto other = std::async(std::launch::async, [&] { return Run(*replicas[0]); });
      EXPECT_EQ(Run(*replicas[1]), expected) << LayoutName(layout);
      EXPECT_EQ(other.get(), expected) << LayoutName(layout);
    }
  }
}

// One replica, with experts in blocks, which need not be even, or fewer than ranks, and where a placement has
// them.
TEST_P(LayoutsTest, SpreadExpertsGiveTheTokensOfOneRank) {
  if (config_.num_experts == 0) GTEST_SKIP() << "no experts";
  const std::vector<TokenId> expected = Run(*Load({}));
  for (const ParallelLayout& layout : {ParallelLayout{.tp = 2, .expert_parallel = true},
                                       {.pcp = 3, .expert_parallel = true},
                                       {.pcp = 9, .expert_parallel = true},
                                       {.pp = 2, .tp = 2, .expert_parallel = true}}) {
    ExpertCounts load(config_.num_layers);
    for (int32_t e = 0; e < config_.num_experts; ++e) load.back().push_back(e * e % 7);
    const auto placement = ExpertPlacement::FromLoad(load, config_.num_experts, layout.ranks_per_stage(), 3);
    for (const ExpertPlacement* const experts : {static_cast<const ExpertPlacement*>(nullptr), &placement}) {
      experts_ = experts;
      const std::unique_ptr<Pipeline> pipeline = Load(layout);
      EXPECT_EQ(Run(*pipeline), expected) << LayoutName(layout);
    }
    experts_ = nullptr;
  }
}

// Whatever the layout, every token is counted once in each layer, and the bytes are those of the groups that
// there are.
TEST_P(LayoutsTest, CountsTokensOfExpertsAndBytes) {
  if (config_.num_experts == 0) GTEST_SKIP() << "no experts";
  for (const ParallelLayout& layout : {ParallelLayout{.pp = 2},
                                       {.tp = 2},
                                       {.pcp = 2},
                                       {.pcp = 2, .tp = 2},
                                       {.tp = 2, .expert_parallel = true},
                                       {.pp = 2, .tp = 2, .expert_parallel = true}}) {
    const std::unique_ptr<Pipeline> pipeline = Load(layout);
    for (const auto& layer : pipeline->Counters().expert_tokens) EXPECT_TRUE(layer.empty());
    Run(*pipeline);
    const RankCounters counters = pipeline->Counters();
    // The last layer may leave out rows that nobody wants.
    const uint64_t tokens = CountedTokens(counters, 2) / config_.num_experts_per_token;
    EXPECT_GE(tokens, kRunTokens) << LayoutName(layout);
    EXPECT_LE(tokens, kRunTokens + 20) << LayoutName(layout) << ": with those of the cancelled chunk";
    EXPECT_EQ(counters.tp_bytes > 0, layout.tp > 1) << LayoutName(layout);
    EXPECT_EQ(counters.pcp_bytes > 0, layout.pcp > 1) << LayoutName(layout);
    EXPECT_EQ(counters.ep_bytes > 0, layout.expert_parallel) << LayoutName(layout);
    EXPECT_EQ(counters.stage_bytes > 0, layout.ranks_per_stage() > 1) << LayoutName(layout);
    EXPECT_EQ(counters.handover_bytes, 0u) << "one process";
  }
}

// Of an idle replica there are no tokens; its ranks send all the same.
TEST_P(LayoutsTest, AnIdleReplicaCountsNoTokens) {
  if (config_.num_experts == 0) GTEST_SKIP() << "no experts";
  const auto replicas = LoadReplicas({.dp = 2, .expert_parallel = true});
  Run(*replicas[1]);
  EXPECT_GE(CountedTokens(replicas_[1]->Counters(), 2), kRunTokens * config_.num_experts_per_token);
  for (const auto& layer : replicas_[0]->Counters().expert_tokens) EXPECT_TRUE(layer.empty());
  EXPECT_GT(replicas_[0]->Counters().ep_bytes, 0u);
}

// A replica that goes away, or whose sequence is cancelled, while a wave is in flight leaves nobody waiting.
TEST_P(LayoutsTest, EndsWithAWaveInFlight) {
  if (config_.num_experts == 0) GTEST_SKIP() << "no experts";
  std::vector<TokenId> tokens(60, 5);
  for (const int32_t pp : {1, 2}) {
    auto replicas = LoadReplicas({.dp = 2, .pp = pp, .expert_parallel = true});
    for (uint64_t step_id = 1; step_id <= 3; ++step_id) {
      for (const auto& replica : replicas) {
        auto step = std::make_unique<Step>();
        step->step_id = step_id;
        step->chunks.push_back(MakeChunk(1, tokens, static_cast<int32_t>(step_id - 1) * 20, 20, 0));
        replica->Submit(std::move(step));
      }
    }
    replicas[0]->Cancel(1);
    replicas[1].reset();
    replicas[0].reset();  // waits for the waves that have begun
  }
}

INSTANTIATE_TEST_SUITE_P(Families, LayoutsTest,
                         ::testing::Values("llama", "qwen3", "qwen3_moe", "deepseek_v3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace penstock
