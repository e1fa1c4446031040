// For tests: a pipeline of fake models, and the steps that go into it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "pipeline/fake_model.h"
#include "pipeline/pipeline.h"

namespace penstock::testing {

inline constexpr int32_t kBlockSize = 4;

// A pipeline of fake models, and the result queue's other end.
class FakePipeline {
 public:
  explicit FakePipeline(int32_t num_stages, int32_t num_hidden_buffers = 0, int32_t num_lanes = 1,
                        bool run_empty_steps = false)
      : models(num_stages * num_lanes) {
    PipelineOptions options;
    options.num_stages = num_stages;
    options.num_lanes = num_lanes;
    options.num_hidden_buffers = num_hidden_buffers;
    options.run_empty_steps = run_empty_steps;
    options.model = {.dtype = DType::kF32,
                     .block_size = kBlockSize,
                     .max_batched_tokens = 64,
                     .max_model_len = 256,
                     .max_logit_rows = 3};
    std::vector<RankGroups> groups = MakeLocalGroups({.pp = num_stages, .tp = num_lanes});
    std::mutex mutex;
    auto pipeline = Pipeline::Create(options, [&](int32_t stage, int32_t lane) -> Result<RankRuntime> {
      LayerRange range{stage, stage + 1, stage == 0, stage + 1 == num_stages};
      auto model = std::make_unique<FakeModel>(range, kBlockSize);
      std::lock_guard lock(mutex);
      const int32_t idx = stage * num_lanes + lane;
      models[idx] = model.get();
      RankRuntime rank;
      rank.groups = std::move(groups[idx]);
      rank.team = std::make_unique<ThreadTeam>(1);
      rank.model = std::move(model);
      return rank;
    });
    executor = *std::move(pipeline);
    executor->SetNotify([this] {
      std::lock_guard lock(mutex_);
      ++ready_;
      wake_.notify_all();
    });
  }

  StepResult Next() {
    std::unique_ptr<StepResult> result;
    while ((result = executor->Poll()) == nullptr) {  // it is also told when the first stage has ended a step
      std::unique_lock lock(mutex_);
      const bool is_told = wake_.wait_for(lock, std::chrono::seconds(20), [&] { return ready_ > 0; });
      CHECK(is_told);
      --ready_;
    }
    return *result;
  }

  std::vector<FakeModel*> models;  // [num_stages * num_lanes]
  std::unique_ptr<Pipeline> executor;

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  int ready_ = 0;
};

inline std::vector<TokenId> Prompt(int32_t len, int32_t salt) {
  std::vector<TokenId> ids(len);
  for (int32_t i = 0; i < len; ++i) ids[i] = (i * 7 + salt * 13) % FakeModel::kVocabSize;
  return ids;
}

inline Chunk MakeChunk(SeqId seq, const std::vector<TokenId>& prompt, int32_t pos, int32_t len) {
  Chunk chunk;
  chunk.seq = seq;
  chunk.pos = pos;
  chunk.len = len;
  chunk.token_ids.assign(prompt.begin() + pos, prompt.begin() + pos + len);
  for (int32_t i = 0; i * kBlockSize < pos + len; ++i)
    chunk.block_ids.push_back(static_cast<BlockId>(seq * 100 + (i * 5) % 64));
  if (pos + len == static_cast<int32_t>(prompt.size())) {
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
  }
  return chunk;
}

inline std::unique_ptr<Step> MakeStep(uint64_t step_id, std::vector<Chunk> chunks) {
  auto step = std::make_unique<Step>();
  step->step_id = step_id;
  step->chunks = std::move(chunks);
  return step;
}

}  // namespace penstock::testing
