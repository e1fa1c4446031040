// For tests: a stage of real kernels and a tiny real model, and the packets that go into it.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/affinity.h"
#include "model/testing/tiny_models.h"
#include "pipeline/local_ranks.h"
#include "pipeline/stage.h"

namespace penstock::testing {

class TinyStage {
 public:
  static constexpr int32_t kBlockSize = 16;
  static constexpr int32_t kNumBlocks = 16;

  explicit TinyStage(const std::string& family, int num_threads = 1, OpProfile* profile = nullptr)
      : config_(WriteTinyModel(dir_, TinyConfig(family))) {
    LocalRanksOptions ranks;
    ranks.model_dir = dir_.path();
    ranks.config = config_;
    ranks.model = options_;
    ranks.ranges = {{0, config_.num_layers, true, true}};
    ranks.cores = AssignCores(UsableCores(), 1, num_threads);
    ranks.num_blocks = kNumBlocks;
    if (profile != nullptr) ranks.profiles = {profile};
    stage_ = std::make_unique<Stage>(0, MakeLocalRankFactory(std::move(ranks))(0, 0).value(), options_,
                                     cancelled_);
  }

  // Positions [pos, pos + len) of sequence 1, whose tokens are 1, 2, 3, …; a token is drawn at the end.
  StagePacket MakePacket(int32_t pos, int32_t len) const {
    StagePacket packet;
    packet.result = std::make_unique<StepResult>();
    packet.step = std::make_unique<Step>();
    Chunk& chunk = packet.step->chunks.emplace_back();
    chunk.seq = 1;
    chunk.pos = pos;
    chunk.len = len;
    for (int32_t i = 0; i < len; ++i) chunk.token_ids.push_back((pos + i + 1) % config_.vocab_size);
    for (int32_t i = 0; i * kBlockSize < pos + len; ++i) chunk.block_ids.push_back(i);
    chunk.sample.emplace();
    chunk.sample->params.temperature = 0;
    packet.hidden = Buffer(DTypeBytes(options_.dtype) * options_.max_batched_tokens * config_.hidden_dim);
    return packet;
  }

  Stage& stage() { return *stage_; }

 private:
  TempDir dir_;
  const ModelConfig config_;
  const ModelOptions options_ = {.dtype = DType::kF32,
                                 .block_size = kBlockSize,
                                 .max_batched_tokens = 128,
                                 .max_model_len = 256,
                                 .max_logit_rows = 4};
  CancelSet cancelled_;
  std::unique_ptr<Stage> stage_;
};

}  // namespace penstock::testing
