// Real models on pipelines of all layouts: the tokens are those of one rank.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <semaphore>

#include "base/affinity.h"
#include "model/testing/tiny_models.h"
#include "pipeline/local_ranks.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 16;
constexpr int32_t kPromptLen = 75;

class LayoutsTest : public ::testing::TestWithParam<std::string> {
 protected:
  LayoutsTest() : config_(testing::WriteTinyModel(dir_, testing::TinyConfig(GetParam()))) {}

  std::unique_ptr<Pipeline> Load(const ParallelLayout& layout) {
    LocalRanksOptions ranks;
    ranks.model_dir = dir_.path();
    ranks.config = config_;
    ranks.model = options_;
    for (int32_t rank = 0; rank < layout.world_size(); ++rank) {
      const int32_t stage = CoordsOf(layout, rank).pp, num_layers = config_.num_layers;
      ranks.ranges.push_back({num_layers * stage / layout.pp, num_layers * (stage + 1) / layout.pp,
                              stage == 0, stage + 1 == layout.pp, ShareOf(layout, rank)});
    }
    ranks.cores = AssignCores(UsableCores(), layout.world_size(), 1);
    ranks.groups = MakeLocalGroups(layout);
    ranks.num_blocks = 16;
    PipelineOptions options;
    options.num_stages = layout.pp;
    options.num_lanes = layout.ranks_per_stage();
    options.model = options_;
    return Pipeline::Create(options, MakeLocalRankFactory(std::move(ranks))).value();
  }

  // A prompt in chunks, then some tokens, beside another prompt that is cancelled.
  std::vector<TokenId> Run(Pipeline& pipeline) {
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

 private:
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

  testing::TempDir dir_;
  const ModelConfig config_;
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

INSTANTIATE_TEST_SUITE_P(Families, LayoutsTest,
                         ::testing::Values("llama", "qwen3", "qwen3_moe", "deepseek_v3"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace penstock
