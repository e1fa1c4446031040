// SPDX-License-Identifier: Apache-2.0
#include "engine/prefix_shadow.h"

namespace penstock {

size_t PrefixShadow::NumKnown(std::span<const BlockHash> chain) const {
  size_t known = 0;
  while (known < chain.size() && at_.contains(chain[known])) ++known;
  return known;
}

void PrefixShadow::Touch(std::span<const BlockHash> chain) {
  for (size_t i = chain.size(); i-- > 0;) {
    if (const auto it = at_.find(chain[i]); it != at_.end()) {
      by_use_.splice(by_use_.begin(), by_use_, it->second);
      continue;
    }
    by_use_.push_front(chain[i]);
    at_.emplace(chain[i], by_use_.begin());
    if (at_.size() <= max_blocks_) continue;
    at_.erase(by_use_.back());
    by_use_.pop_back();
  }
}

void PrefixShadow::Forget(std::span<const BlockHash> blocks) {
  for (const BlockHash& block : blocks) {
    const auto it = at_.find(block);
    if (it == at_.end()) continue;
    by_use_.erase(it->second);
    at_.erase(it);
  }
}

void PrefixShadow::Clear() {
  at_.clear();
  by_use_.clear();
}

}  // namespace penstock
