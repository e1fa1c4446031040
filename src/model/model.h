// Model: the layers [first_layer, last_layer) of one rank, with their weights and their share of the KV
// cache.
//
// Loading, per-stage ranges and memory estimates all read the tensor table that the architecture's file
// declares.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/model_config.h"
#include "model/rank_share.h"
#include "tensor/mat.h"

namespace penstock {

class ExpertLoad;

// What one rank holds. Stage 0 has the embedding, the last stage the final norm and the head.
struct LayerRange {
  int32_t first_layer = 0;
  int32_t last_layer = 0;
  bool has_embedding = true;
  bool has_head = true;
  RankShare share = {};
};

// The tokens of one step, in rows. The spans cover the rows [0, token_ids.size()) in order, without gaps.
struct ModelBatch {
  std::span<const int32_t> token_ids;  // [num_tokens]
  std::span<const int32_t> positions;  // [num_tokens]
  std::span<const SeqSpan> spans;
  // On the rank that has the head: the rows whose output is wanted, rising; not given: all. What the others'
  // hidden states are afterwards is not said.
  std::optional<std::span<const int32_t>> wanted_rows = std::nullopt;
  // Ranks of a tensor-parallel group keep their own rows of the hidden states between layers, not all of
  // them.
  bool sequence_parallel = false;
  // Of the hidden states handed to this rank only OwnRows() are there; else as Forward() leaves them.
  bool hidden_is_own_rows = false;
};

struct ModelOptions {
  DType dtype = DType::kBF16;  // of weights and activations: bf16 or f32
  int32_t block_size = 64;
  int32_t max_batched_tokens = 2048;  // rows of the largest step
  int32_t max_model_len = 4096;
  int32_t max_logit_rows = 1;  // rows of the largest Logits() call
  // Of keys and values; absent: as dtype. i8 goes with either, but latent attention has it with bf16 only.
  std::optional<DType> kv_dtype = std::nullopt;

  DType KvDType() const { return kv_dtype.value_or(dtype); }
};

// Bytes that one rank will take, computed before any is taken.
struct ModelMemory {
  size_t weight_bytes = 0;
  size_t kv_block_bytes = 0;    // one block of every layer of the rank
  size_t activation_bytes = 0;  // bound at (max_batched_tokens, max_model_len), kernel scratch included
};

// Where packed weights are kept for the next start; `dir` empty: nowhere.
struct PackedCache {
  std::string dir;    // made where it is missing
  std::string build;  // names this program: another one's files are not used
};

// Called while loading with the bytes read so far and in all, from the loading thread.
using LoadProgress = std::function<void(size_t done_bytes, size_t total_bytes)>;

// Called while loading, from the loading thread, for each matrix that the model multiplies, with the names of
// the tensors that it is made of.
using MatrixListener = std::function<void(std::span<const std::string> names, const PackedMat& matrix)>;

class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelConfig& config() const = 0;
  virtual const LayerRange& range() const = 0;
  virtual ModelMemory memory() const = 0;

  // What was routed to the experts of its layers; null: it has none. Ranks that share all tokens
  // (tensor-parallel ones without expert parallelism) have the same counts; other ranks' add up.
  virtual const ExpertLoad* expert_load() const { return nullptr; }

  // Takes the memory of `num_blocks` KV blocks (touched when first written). Once, before Forward().
  virtual void AllocateKv(int32_t num_blocks) = 0;

  // Where ranks share a stage (range().share), Forward, CollectRows and Logits are collective: all of them
  // call them in the same order, with the same batch.

  // Runs the layers. hidden: [num_tokens, hidden_dim] in the activation type; written from token_ids on the
  // rank that has the embedding, else read as the previous stage's output; holds this rank's output
  // afterwards, in the rows that are its part of the step (all of them where it has no peers; where it has,
  // which ones they are is the model's business).
  virtual void Forward(const ModelBatch& batch, Mat hidden) = 0;

  // Of the hidden states that Forward() left, the rows that the next stage's rank of the same place needs
  // from this one. All together, the ranks of a stage have every row of the step once.
  virtual Mat OwnRows(const ModelBatch& /*batch*/, Mat hidden) const { return hidden; }

  // Copies rows of the batch, all wanted ones, from wherever they are: out[i] = hidden of row rows[i], on
  // every rank of the stage. out: [rows.size(), hidden_dim].
  virtual void CollectRows(const ModelBatch& batch, ConstMat hidden, std::span<const int32_t> rows, Mat out);

  // Final norm and head of selected rows. rows: [m, hidden_dim]; logits: f32 [m, vocab_size], complete on the
  // first rank of its stage. Only on ranks that have the head.
  virtual void Logits(ConstMat rows, Mat logits) = 0;
};

// What a rank of this model will need.
Result<ModelMemory> EstimateModelMemory(const ModelConfig& config, const LayerRange& range,
                                        const ModelOptions& options, const Kernels& kernels);

// Loads the tensors of `range` from the safetensors of `model_dir`, or maps what `cache` has of them, or
// leaves it there for the next time. `kernels` outlives the model. Errors name the tensor, what was found and
// what was expected; of the cache there are only warnings.
Result<std::unique_ptr<Model>> LoadModel(const std::string& model_dir, const ModelConfig& config,
                                         const LayerRange& range, const ModelOptions& options,
                                         Kernels& kernels, const LoadProgress& progress = {},
                                         const PackedCache& cache = {}, const MatrixListener& on_matrix = {},
                                         const RankComms& comms = {});

}  // namespace penstock
