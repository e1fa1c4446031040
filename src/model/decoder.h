// DecoderModel: embedding, layers, final norm and head of one rank: the Model of every architecture.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/architecture.h"
#include "model/block.h"
#include "model/context_split.h"
#include "model/expert_exchange.h"
#include "model/expert_load.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "model/weight_source.h"
#include "weights/packed_file.h"

namespace penstock {

// All weights of a rank.
struct DecoderWeights {
  std::unique_ptr<PackedFile> file;  // whose memory the others use; null: they have their own
  RowTable embedding;                // where the range has it
  std::vector<DecoderLayer> layers;
  NormWeights final_norm;  // where the range has the head
  std::unique_ptr<PackedMat> head;
  size_t bytes = 0;  // memory held
};

// Makes the layers of `range` and what else it has. `head_name` is the head's tensor: the embedding's where
// they are tied. Failures stay in weights.status().
DecoderWeights MakeDecoderWeights(const Architecture& architecture, const ModelConfig& config,
                                  const LayerRange& range, const std::string& head_name,
                                  WeightSource& weights);

// What a rank with these weights (made by CountedWeights, or really there) takes.
ModelMemory MeasureMemory(const ModelConfig& config, const ModelOptions& options, const RankShare& share,
                          const DecoderWeights& weights, const Kernels& kernels);

class DecoderModel : public Model {
 public:
  DecoderModel(const ModelConfig& config, const LayerRange& range, const ModelOptions& options,
               DecoderWeights weights, Kernels& kernels, const RankComms& comms = {});

  const ModelConfig& config() const override { return config_; }
  const LayerRange& range() const override { return range_; }
  ModelMemory memory() const override { return memory_; }

  const ExpertLoad* expert_load() const override { return expert_load_.get(); }

  void AllocateKv(int32_t num_blocks) override;
  void Forward(const ModelBatch& batch, Mat hidden) override;
  Mat OwnRows(const ModelBatch& batch, Mat hidden) const override;
  void CollectRows(const ModelBatch& batch, ConstMat hidden, std::span<const int32_t> rows, Mat out) override;
  void Logits(ConstMat rows, Mat logits) override;

 private:
  void CheckBatch(const ModelBatch& batch, const Mat& hidden) const;
  void Embed(const RowSharing& sharing, const Mat& hidden);
  void RunLayers(const ModelBatch& batch, RowSharing sharing, const Mat& hidden);
  // Fills wanted_rows_ and wanted_spans_, which are what the last layer need compute; false: all of it. See
  // ModelBatch::wanted_rows.
  bool FindWanted(const ModelBatch& batch);
  void Norm(const ConstMat& x, const NormWeights& norm, const Mat& y);
  // The columns of all ranks' logits, on the first of them.
  void GatherLogits(const Mat& own, const Mat& logits);
  // Whether other ranks run this model's layers with tokens of their own, and wait for this one in them.
  bool HasCompany() const { return range_.share.ep_size > 1 || range_.share.pcp_size > 1; }

  const ModelConfig config_;
  const LayerRange range_;
  const ModelOptions options_;
  const DecoderWeights weights_;
  Kernels& kernels_;
  const RankComms comms_;
  const ModelMemory memory_;
  const RopeTable rope_;
  Workspace workspace_;
  KvCache kv_;
  ContextSplit context_;
  std::vector<int32_t> wanted_rows_;                 // of this rank's rows
  std::vector<SeqSpan> wanted_spans_;                // of those
  std::unique_ptr<ExpertExchange> expert_exchange_;  // null: the rank has all experts
  std::unique_ptr<ExpertLoad> expert_load_;          // null: there are no experts
};

}  // namespace penstock
