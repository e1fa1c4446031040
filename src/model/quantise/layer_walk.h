// LayerWalk: texts through a model one layer at a time, so that no more than one layer's weights are in
// memory, however large the model is.
//
//   hidden states of all texts --layer 0--> … --layer n-1-->    each layer: load, run all texts, forget
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "model/model.h"
#include "tensor/buffer.h"

namespace penstock {

// Token ids of each text: at least one token each.
using TokenTexts = std::vector<std::vector<int32_t>>;

// Called with the layers done and in all.
using LayerProgress = std::function<void(int32_t done, int32_t total)>;

// The hidden states of all texts: [tokens of a text, hidden_dim] each.
class HiddenStates {
 public:
  HiddenStates(const TokenTexts& texts, DType dtype, int64_t hidden_dim);

  Mat Text(size_t text_idx) const;  // like Buffer, the object does not own what it lends out as const

 private:
  const DType dtype_;
  const int64_t hidden_dim_;
  std::vector<int64_t> first_rows_;  // [texts + 1]
  Buffer memory_;
};

// What all layers of a walk have in common.
struct WalkSetup {
  const std::string& model_dir;
  const ModelConfig& config;
  DType dtype;  // of activations
  const TokenTexts& texts;
};

// The type that the engine would compute a checkpoint's model in.
DType ComputeType(const ModelConfig& config);

// Makes the hidden states that the first layer reads.
Status EmbedTexts(const WalkSetup& setup, Kernels& kernels, const HiddenStates& hidden);

// One layer of a model; the last has the head.
class WalkedLayer {
 public:
  static Result<WalkedLayer> Load(const WalkSetup& setup, int32_t layer, Kernels& kernels,
                                  const MatrixListener& on_matrix = {});

  // hidden: the layer's input, and afterwards its output, of this text.
  void Run(std::span<const int32_t> token_ids, Mat hidden);

  // Of rows of the last layer's output, at most kLogitRows. logits: f32 [rows, vocab_size].
  static constexpr int32_t kLogitRows = 64;
  void Logits(ConstMat rows, Mat logits) { model_->Logits(rows, logits); }

 private:
  WalkedLayer(std::unique_ptr<Model> model, size_t longest);

  std::unique_ptr<Model> model_;
  std::vector<int32_t> block_ids_;
  std::vector<int32_t> positions_;
};

}  // namespace penstock
