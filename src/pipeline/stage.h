// Stage: the work of one rank of a pipeline stage on one step. Receiving, handing on and threads are the
// pipeline's (pipeline.h).
//
// Where a stage has several ranks, all of them execute the same steps in the same order, each in its lane.
// Lane 0 leads: it says which chunks are dropped (the others are told before they begin), samples, and
// stamps the result.
//
// Thread safety: one thread, the rank's own.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_team.h"
#include "kernels/profile/op_profile.h"
#include "model/model.h"
#include "pipeline/cancel_set.h"
#include "pipeline/packet.h"
#include "pipeline/rank_groups.h"
#include "plan/rank_counters.h"
#include "sample/sampler.h"
#include "tensor/buffer.h"

namespace penstock {

// What one rank owns. Destroyed in reverse order: the model uses the groups and the kernels, the kernels use
// the team.
struct RankRuntime {
  std::unique_ptr<ThreadTeam> team;
  std::unique_ptr<Kernels> kernels;  // may be null where the model brings its own (tests)
  RankGroups groups;
  std::unique_ptr<Model> model;
  OpProfile* profile = nullptr;  // of the kernels; null: none is taken
  int64_t clock_offset_us = 0;   // what this process's clock is ahead of process 0's
};

class Stage {
 public:
  // `cancelled` outlives the stage. `run_empty_steps`: the model runs also where there are no chunks.
  Stage(int32_t stage_idx, RankRuntime runtime, const ModelOptions& options, const CancelSet& cancelled,
        bool run_empty_steps = false);

  ~Stage();

  // Of the rank: 0 where it leads its stage.
  int32_t lane() const { return group() != nullptr ? group()->rank() : 0; }

  // Drops the chunks of cancelled sequences, runs the model's layers over the rest, samples on the last
  // stage, and stamps the result. Sequences are dropped by each stage where it has one rank; where it has
  // more by stage 0 only, before there are hidden states, which may be spread over the ranks later.
  void Execute(StagePacket& packet);

  // Adds what the rank has counted so far. Any thread.
  void AddCounters(RankCounters& sum) const;

  const Model& model() const { return *runtime_.model; }

 private:
  Communicator* group() const { return runtime_.groups.stage.get(); }  // null: the stage has one rank

  // What is to be done with the packet, the same on every rank of the stage: sets packet.is_void and fills
  // decision_.
  void Decide(StagePacket& packet);
  void ShareDecision();
  void DropChunks(StagePacket& packet);
  void RunModel(StagePacket& packet);
  ModelBatch MakeBatch(const StagePacket& packet);
  // Fills wanted_, which points into the result (null where this is not lane 0), and gives its rows.
  std::span<const int32_t> FindWanted(const Step& step, StepResult* result);
  void ComputeLogits(const ModelBatch& batch, ConstMat hidden);
  void SampleRows(size_t first, size_t count);

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
  const bool run_empty_steps_;

  std::vector<int32_t> token_ids_, positions_;
  std::vector<SeqSpan> spans_;
  std::vector<uint8_t> decision_;  // whether to drop all, then each chunk
  std::vector<SendPart> decision_sends_;
  std::optional<Communicator::Ticket> told_;  // of the leader: decision_ is being read until it is waited for
  std::vector<WantedRow> wanted_;
  std::vector<int32_t> wanted_rows_;
  std::vector<Sampler> samplers_;  // one for each thread of the team; lane 0 of the last stage only
  Buffer logits_;                  // f32 [max_logit_rows, vocab_size]
  Buffer wanted_hidden_;           // [max_logit_rows, hidden_dim]
};

}  // namespace penstock
