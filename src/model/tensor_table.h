// TensorTable: the tensors of a model, as its architecture's file declares them. Loading, per-stage ranges
// and the memory estimate all read this one table.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "model/model_config.h"
#include "model/rank_share.h"

namespace penstock {

// How the ranks of a tensor-parallel group share a tensor.
enum class Shard {
  kReplicated,
  kColumn,  // cut along the output dimension, rows of the file's [out, in]
  kRow,     // cut along the input dimension
  // Of a routed expert: whole, on the ranks that have it, where experts are spread; else as the two above.
  kExpertColumn,
  kExpertRow,
  kVocab,  // cut along the vocabulary, the rows
};

// The matrices that quantisation means: all but embedding, head and router.
enum class Projection {
  kNone,
  kAttention,
  kLatentUp,  // kv_b of latent attention, which is computed in float whatever it is stored as
  kMlp,
  kExpert,  // of a routed expert
};

struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
  Shard shard = Shard::kReplicated;
  Projection projection = Projection::kNone;
  bool optional = false;  // may be absent
  int32_t layer = -1;     // -1: not of a layer
  int64_t unit = 1;  // of the dimension that is cut: stays together (a head). Where there are fewer units
                     // than ranks, neighbours hold the same one
};

// The same tensor, to be cut between units only.
TensorSpec InUnits(int64_t unit, TensorSpec spec);

// What a rank holds of a tensor: rows and columns of the file's; a vector is a column.
struct TensorPart {
  int64_t row = 0, rows = 0;
  int64_t col = 0, cols = 1;
  bool is_whole = true;
};
TensorPart PartOf(const TensorSpec& spec, const RankShare& share);

// The tensors of a norm: NAME.weight and, where an anti-outlier method left one, NAME.bias. Both [size].
std::vector<TensorSpec> NormSpecs(const std::string& name, int64_t size);

// "model.layers.3."
std::string LayerPrefix(int32_t layer);

class TensorTable {
 public:
  void Add(TensorSpec spec);
  // The names of `specs` are those within the layer: "mlp.gate_proj.weight".
  void AddLayer(int32_t layer, std::vector<TensorSpec> specs);

  std::span<const TensorSpec> specs() const { return specs_; }
  bool Has(const std::string& name) const { return by_name_.contains(name); }
  const TensorSpec& Get(const std::string& name) const;  // a CHECK failure if there is none

 private:
  std::vector<TensorSpec> specs_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace penstock
