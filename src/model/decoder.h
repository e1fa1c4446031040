// DecoderModel: embedding, layers, final norm and head of one rank: the Model of every architecture.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "model/architecture.h"
#include "model/block.h"
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
ModelMemory MeasureMemory(const ModelConfig& config, const ModelOptions& options,
                          const DecoderWeights& weights, const Kernels& kernels);

class DecoderModel : public Model {
 public:
  DecoderModel(const ModelConfig& config, const LayerRange& range, const ModelOptions& options,
               DecoderWeights weights, Kernels& kernels, const RankComms& comms = {});

  const ModelConfig& config() const override { return config_; }
  const LayerRange& range() const override { return range_; }
  ModelMemory memory() const override { return memory_; }

  void AllocateKv(int32_t num_blocks) override;
  void Forward(const ModelBatch& batch, Mat hidden) override;
  void Logits(ConstMat rows, Mat logits) override;

 private:
  void CheckBatch(const ModelBatch& batch, const Mat& hidden) const;
  // What of the spans the last layer need compute; see ModelBatch::wanted_rows.
  std::span<const SeqSpan> WantedSpans(const ModelBatch& batch);
  void Norm(const ConstMat& x, const NormWeights& norm, const Mat& y);

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
  std::vector<SeqSpan> wanted_spans_;
};

}  // namespace penstock
