// SPDX-License-Identifier: Apache-2.0
#include "apps/stall_watch.h"

#include <gtest/gtest.h>

#include <latch>

#include "base/clock.h"
#include "engine/threaded_engine.h"
#include "pipeline/testing/fake_pipeline.h"
#include "text/tokenizer.h"

namespace penstock {
namespace {

// No request here wants text.
class NoTexts : public TokenTextFactory {
 public:
  std::unique_ptr<TokenText> Make(std::span<const TokenId>, const SamplingParams&) override {
    return nullptr;
  }
};

// A rank that hangs in the middle of a step: the pipeline is failed, and the request ends with an error.
TEST(StallWatch, ARankThatHangsEndsAll) {
  testing::FakePipeline pipeline(2);
  std::latch go_on(1);
  pipeline.models[1]->on_forward = [&](const ModelBatch&) { go_on.wait(); };
  EngineConfig config;
  config.vocab_size = FakeModel::kVocabSize;
  config.scheduler.max_num_seqs = 8;
  config.scheduler.max_num_batched_tokens = 64;
  config.scheduler.block_size = testing::kBlockSize;
  config.scheduler.num_blocks = 64;
  config.scheduler.max_model_len = 200;
  config.health = {.min_stall_us = 50'000, .factor = 2, .first_step_us = 50'000};
  NoTexts texts;
  auto engine = *MakeEngine(config, *pipeline.executor, texts);
  {
    std::latch stalled(1);
    const StallWatch watch(
        *engine,
        [&](const Status& status) {
          EXPECT_NE(status.message().find("no step has come back"), std::string::npos) << status.message();
          pipeline.executor->Fail(status);
          stalled.count_down();
        },
        1'000);
    EXPECT_TRUE(engine->Stall().ok());  // idle
    std::latch ended(1);
    Request request;
    request.request_id = "a";
    request.prompt_ids.assign(10, 1);
    request.detokenize = false;
    ASSERT_TRUE(engine
                    ->Submit(std::move(request),
                             [&](RequestOutput output) {
                               if (output.finish_reason == FinishReason::kNone) return;
                               EXPECT_EQ(output.finish_reason, FinishReason::kError);
                               ended.count_down();
                             })
                    .ok());
    ended.wait();
    stalled.wait();
    EXPECT_FALSE(engine->Health().ok());
  }
  go_on.count_down();
}

TEST(StallWatch, EndsWithoutAStall) {
  testing::FakePipeline pipeline(1);
  EngineConfig config;
  config.vocab_size = FakeModel::kVocabSize;
  config.scheduler.max_num_seqs = 8;
  NoTexts texts;
  config.scheduler.num_blocks = 64;
  config.scheduler.max_model_len = 200;
  auto engine = *MakeEngine(config, *pipeline.executor, texts);
  const StallWatch watch(*engine, [](const Status&) { FAIL(); }, 3'600'000'000);
}

}  // namespace
}  // namespace penstock
