// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_table.h"

#include <utility>

#include "base/check.h"
#include "comm/collectives.h"

namespace penstock {

std::string LayerPrefix(int32_t layer) { return fmt::format("model.layers.{}.", layer); }

std::vector<TensorSpec> NormSpecs(const std::string& name, int64_t size) {
  return {{name + ".weight", {size}, Shard::kReplicated},
          {name + ".bias", {size}, Shard::kReplicated, Projection::kNone, /*optional=*/true}};
}

namespace {

// Of `size` numbers in units, those of a tensor-parallel rank.
void Cut(int64_t size, int64_t unit, const RankShare& share, int64_t* begin, int64_t* count) {
  CHECK_EQ(size % unit, 0) << size;
  const int64_t units = size / unit;
  if (units < share.tp_size) {
    *begin = units * share.tp_rank / share.tp_size * unit;
    *count = unit;
    return;
  }
  *begin = RowCut(units, share.tp_size, share.tp_rank) * unit;
  *count = RowCut(units, share.tp_size, share.tp_rank + 1) * unit - *begin;
}

}  // namespace

TensorSpec InUnits(int64_t unit, TensorSpec spec) {
  spec.unit = unit;
  return spec;
}

TensorPart PartOf(const TensorSpec& spec, const RankShare& share) {
  TensorPart part{.rows = spec.shape[0], .cols = spec.shape.size() > 1 ? spec.shape[1] : 1};
  const bool is_expert = spec.shard == Shard::kExpertColumn || spec.shard == Shard::kExpertRow;
  if (spec.shard == Shard::kReplicated || share.tp_size == 1 || (is_expert && share.ep_size > 1)) return part;
  part.is_whole = false;
  if (spec.shard == Shard::kRow || spec.shard == Shard::kExpertRow) {
    Cut(spec.shape[1], spec.unit, share, &part.col, &part.cols);
  } else {
    Cut(spec.shape[0], spec.unit, share, &part.row, &part.rows);
  }
  return part;
}

void TensorTable::Add(TensorSpec spec) {
  CHECK(by_name_.emplace(spec.name, specs_.size()).second) << spec.name << " declared twice";
  specs_.push_back(std::move(spec));
}

void TensorTable::AddLayer(int32_t layer, std::vector<TensorSpec> specs) {
  for (TensorSpec& spec : specs) {
    spec.name = LayerPrefix(layer) + spec.name;
    spec.layer = layer;
    Add(std::move(spec));
  }
}

const TensorSpec& TensorTable::Get(const std::string& name) const {
  const auto found = by_name_.find(name);
  CHECK(found != by_name_.end()) << name << " is not declared";
  return specs_[found->second];
}

}  // namespace penstock
