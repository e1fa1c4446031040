// For tests: a model whose stages have several ranks each, which are threads. As StagedModel, but what a
// stage hands to the next is only the rows that it must, and the rest of the buffers is not a number.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_team.h"
#include "comm/inproc/inproc_group.h"
#include "model/model.h"
#include "model/testing/test_sequences.h"
#include "plan/parallel_layout.h"
#include "tensor/buffer.h"

namespace penstock::testing {

class RankedModel {
 public:
  static constexpr int32_t kNumBlocks = TestSequences::kNumBlocks;

  RankedModel(const std::string& dir, const ModelConfig& config, const ParallelLayout& layout,
              const ModelOptions& options, const std::string& kernels, bool sequence_parallel = false)
      : options_(options),
        config_(config),
        layout_(layout),
        sequence_parallel_(sequence_parallel),
        sequences_(options.block_size) {
    const int lanes = layout.ranks_per_stage();
    for (int s = 0; s < layout.pp; ++s) {
      auto ep_group = MakeInprocGroup(layout.expert_parallel ? lanes : 1);
      std::vector<std::vector<std::unique_ptr<Communicator>>> tp_groups, pcp_groups;
      for (int c = 0; c < layout.pcp; ++c) tp_groups.push_back(MakeInprocGroup(layout.tp));
      for (int t = 0; t < layout.tp; ++t) pcp_groups.push_back(MakeInprocGroup(layout.pcp));
      for (int lane = 0; lane < lanes; ++lane) {
        const int c = lane / layout.tp, t = lane % layout.tp;
        Rank rank;
        if (layout.tp > 1) rank.tp = std::move(tp_groups[c][t]);
        if (layout.pcp > 1) rank.pcp = std::move(pcp_groups[t][c]);
        if (layout.expert_parallel) rank.ep = std::move(ep_group[lane]);
        rank.team = std::make_unique<ThreadTeam>(1);
        rank.kernels = kernels == "ref" ? MakeRefKernels() : MakeCpuKernels(*rank.team, kernels);
        const LayerRange range{.first_layer = config.num_layers * s / layout.pp,
                               .last_layer = config.num_layers * (s + 1) / layout.pp,
                               .has_embedding = s == 0,
                               .has_head = s == layout.pp - 1,
                               .share = {.tp_rank = t,
                                         .tp_size = layout.tp,
                                         .pcp_rank = c,
                                         .pcp_size = layout.pcp,
                                         .ep_rank = layout.expert_parallel ? lane : 0,
                                         .ep_size = layout.expert_parallel ? lanes : 1}};
        rank.model = LoadModel(dir, config, range, options, *rank.kernels, {}, {}, {},
                               {rank.tp.get(), rank.pcp.get(), rank.ep.get()})
                         .value();
        rank.model->AllocateKv(kNumBlocks);
        ranks_.push_back(std::move(rank));
      }
    }
  }

  // As TestSequences.
  TestSequence NewSequence(std::vector<int32_t> tokens) { return sequences_.New(std::move(tokens)); }
  void Append(TestSequence& sequence, int32_t token) { sequences_.Append(sequence, token); }

  // As StagedModel::Run, but logits come of the wanted rows only: [wanted][vocab_size].
  std::vector<std::vector<float>> Run(const std::vector<TestChunk>& chunks,
                                      std::vector<int32_t> wanted = {}) {
    const TestStep step(chunks);
    if (wanted.empty()) {
      wanted.resize(step.ids.size());
      std::iota(wanted.begin(), wanted.end(), 0);
    }
    const ModelBatch batch{.token_ids = step.ids,
                           .positions = step.positions,
                           .spans = step.spans,
                           .wanted_rows = wanted,
                           .sequence_parallel = sequence_parallel_,
                           .hidden_is_own_rows = true};
    return RunStages(batch, wanted);
  }

  std::vector<std::vector<float>> RunChunks(TestSequence& sequence, const std::vector<int32_t>& lens) {
    std::vector<std::vector<float>> rows;
    for (const int32_t len : lens) {
      for (auto& row : Run({{&sequence, len}})) rows.push_back(std::move(row));
    }
    return rows;
  }

  // What the ranks of a stage have sent so far, without what passes between stages.
  uint64_t SentBytes(int stage) const {
    uint64_t sum = 0;
    for (int lane = 0; lane < layout_.ranks_per_stage(); ++lane) {
      const Rank& rank = ranks_[stage * layout_.ranks_per_stage() + lane];
      for (const auto* comm : {rank.tp.get(), rank.pcp.get(), rank.ep.get()}) {
        if (comm != nullptr) sum += comm->sent_bytes();
      }
    }
    return sum;
  }

 private:
  struct Rank {
    std::unique_ptr<Communicator> tp, pcp, ep;
    std::unique_ptr<ThreadTeam> team;
    std::unique_ptr<Kernels> kernels;
    std::unique_ptr<Model> model;
  };

  Mat HiddenMat(const Buffer& memory, int64_t rows) const {
    return Mat(memory.data(), options_.dtype, rows, config_.hidden_dim);
  }

  std::vector<std::vector<float>> RunStages(const ModelBatch& batch, const std::vector<int32_t>& wanted) {
    const int lanes = layout_.ranks_per_stage();
    const auto num_tokens = static_cast<int64_t>(batch.token_ids.size());
    const size_t hidden_bytes = num_tokens * config_.hidden_dim * DTypeBytes(options_.dtype);
    std::vector<float> logits(wanted.size() * config_.vocab_size);
    std::vector<Buffer> handed(lanes);
    for (int stage = 0; stage < layout_.pp; ++stage) {
      std::vector<std::thread> threads;
      for (int lane = 0; lane < lanes; ++lane) {
        threads.emplace_back([&, lane] {
          Model& model = *ranks_[stage * lanes + lane].model;
          Buffer memory(hidden_bytes);
          std::memset(memory.data(), 0xff, hidden_bytes);  // not a number
          const Mat hidden = HiddenMat(memory, num_tokens);
          if (stage > 0)
            CopyMat(model.OwnRows(batch, HiddenMat(handed[lane], num_tokens)), model.OwnRows(batch, hidden));
          model.Forward(batch, hidden);
          if (model.range().has_head) Head(model, batch, hidden, wanted, lane == 0 ? &logits : nullptr);
          handed[lane] = std::move(memory);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
    std::vector<std::vector<float>> rows;
    for (size_t r = 0; r < wanted.size(); ++r) {
      rows.emplace_back(logits.begin() + static_cast<ptrdiff_t>(r * config_.vocab_size),
                        logits.begin() + static_cast<ptrdiff_t>((r + 1) * config_.vocab_size));
    }
    return rows;
  }

  void Head(Model& model, const ModelBatch& batch, const Mat& hidden, const std::vector<int32_t>& wanted,
            std::vector<float>* logits) {
    const auto count = static_cast<int64_t>(wanted.size());
    Buffer memory(count * config_.hidden_dim * DTypeBytes(options_.dtype));
    const Mat rows = HiddenMat(memory, count);
    model.CollectRows(batch, hidden, wanted, rows);
    std::vector<float> unused(logits == nullptr ? count * config_.vocab_size : 0);
    model.Logits(rows, Mat(logits == nullptr ? unused.data() : logits->data(), DType::kF32, count,
                           config_.vocab_size));
  }

  static void CopyMat(const Mat& from, const Mat& to) {
    if (from.rows > 0) std::memcpy(to.data, from.data, from.rows * from.cols * DTypeBytes(from.dtype));
  }

  const ModelOptions options_;
  const ModelConfig config_;
  const ParallelLayout layout_;
  const bool sequence_parallel_;
  std::vector<Rank> ranks_;
  TestSequences sequences_;
};

}  // namespace penstock::testing
