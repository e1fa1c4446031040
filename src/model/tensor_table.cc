// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_table.h"

#include <utility>

#include "base/check.h"

namespace penstock {

std::string LayerPrefix(int32_t layer) { return fmt::format("model.layers.{}.", layer); }

std::vector<TensorSpec> NormSpecs(const std::string& name, int64_t size) {
  return {{name + ".weight", {size}, Shard::kReplicated},
          {name + ".bias", {size}, Shard::kReplicated, Projection::kNone, /*optional=*/true}};
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
