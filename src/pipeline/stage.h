// Stage: the work of one pipeline stage on one step. Receiving, handing on and threads are the pipeline's
// (pipeline.h).
//
// Thread safety: one thread, the rank's own.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "kernels/profile/op_profile.h"
#include "model/model.h"
#include "pipeline/cancel_set.h"
#include "plan/step.h"
#include "sample/sampler.h"
#include "tensor/buffer.h"

namespace penstock {

// What one rank owns. Destroyed in reverse order: the model uses the kernels, the kernels use the team.
struct RankRuntime {
  std::unique_ptr<ThreadTeam> team;
  std::unique_ptr<Kernels> kernels;  // may be null where the model brings its own (tests)
  std::unique_ptr<Model> model;
  OpProfile* profile = nullptr;  // of the kernels; null: none is taken
};

// What travels from stage to stage: the step, its hidden states, and the result as far as it is known.
struct StagePacket {
  std::unique_ptr<Step> step;
  std::unique_ptr<StepResult> result;
  Buffer hidden;  // [max_batched_tokens, hidden_dim], the first step->num_tokens() rows in use; empty before
                  // stage 0
};

class Stage {
 public:
  // `cancelled` outlives the stage.
  Stage(int32_t stage_idx, RankRuntime runtime, const ModelOptions& options, const CancelSet& cancelled);

  // Drops the chunks of cancelled sequences, runs the model's layers over the rest, samples on the last
  // stage, and stamps the result. `recv_us`: when the packet had arrived.
  void Execute(StagePacket& packet, int64_t recv_us);

  const Model& model() const { return *runtime_.model; }

 private:
  void DropCancelled(StagePacket& packet);
  void RunModel(StagePacket& packet);
  ModelBatch MakeBatch(const Step& step);
  // Fills wanted_, which points into the result, and gives its rows.
  std::span<const int32_t> FindWanted(const Step& step, StepResult& result);
  void Sample(const ModelBatch& batch, ConstMat hidden);
  void SampleRows(const ModelBatch& batch, ConstMat hidden, size_t first, size_t count);

  // A row of hidden states whose logits are wanted: to sample a token, or for a prompt token's
  // log-probability.
  struct WantedRow {
    const Chunk* chunk;
    int64_t row;
    TokenId target;  // -1: sample
    PositionLogprobs* logprobs = nullptr;
    SampledToken* token = nullptr;
  };

  const int32_t stage_idx_;
  RankRuntime runtime_;
  const ModelOptions options_;
  const CancelSet& cancelled_;

  std::vector<int32_t> token_ids_, positions_;
  std::vector<SeqSpan> spans_;
  std::vector<WantedRow> wanted_;
  std::vector<int32_t> wanted_rows_;
  std::vector<Sampler> samplers_;  // one for each thread of the team; last stage only
  Buffer logits_;                  // f32 [max_logit_rows, vocab_size]
  Buffer wanted_hidden_;           // [max_logit_rows, hidden_dim]
};

}  // namespace penstock
