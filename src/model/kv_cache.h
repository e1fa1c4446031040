// KvCache: the bytes of a rank's KV blocks, one run of blocks per layer. Who owns which block is not known
// here.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/check.h"
#include "kernels/kernels.h"
#include "tensor/buffer.h"

namespace penstock {

class KvCache {
 public:
  KvCache() = default;

  // layer_block_bytes: of each layer. Pages are taken when first written.
  KvCache(const std::vector<size_t>& layer_block_bytes, int32_t num_blocks, int32_t block_size, DType dtype) {
    for (const size_t block_bytes : layer_block_bytes) {
      memory_.emplace_back(block_bytes * static_cast<size_t>(num_blocks));
      layers_.push_back({memory_.back().as<std::byte>(), block_bytes, num_blocks, block_size, dtype});
    }
  }

  bool empty() const { return layers_.empty(); }

  // `layer` counts from the rank's first.
  const KvLayerView& Layer(size_t layer) const {
    CHECK_LT(layer, layers_.size());
    return layers_[layer];
  }

 private:
  std::vector<Buffer> memory_;
  std::vector<KvLayerView> layers_;
};

}  // namespace penstock
