// SPDX-License-Identifier: Apache-2.0
#include "model/expert_load.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int32_t kMaxLayers = 10'000;

Result<int32_t> ParseLayer(const std::string& text, const std::string& path) {
  int32_t layer = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), layer);
  if (error != std::errc() || end != text.data() + text.size() || layer < 0 || layer >= kMaxLayers) {
    return InvalidArgument("{}: layer \"{}\", expected a number below {}", path, text, kMaxLayers);
  }
  return layer;
}

}  // namespace

ExpertLoad::ExpertLoad(int32_t num_layers, int32_t num_experts)
    : num_layers_(num_layers),
      num_experts_(num_experts),
      counts_(std::make_unique<std::atomic<uint64_t>[]>(static_cast<size_t>(num_layers) * num_experts)) {}

// With one writer, loads and stores are enough.
void ExpertLoad::Count(int32_t layer, std::span<const int32_t> ids) {
  CHECK(layer >= 0 && layer < num_layers_) << layer;
  std::atomic<uint64_t>* counts = &counts_[static_cast<size_t>(layer) * num_experts_];
  for (const int32_t e : ids) {
    if (e < 0) continue;
    counts[e].store(counts[e].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
}

void ExpertLoad::AddTo(ExpertCounts& counts) const {
  if (counts.size() < static_cast<size_t>(num_layers_)) counts.resize(num_layers_);
  std::vector<uint64_t> own(num_experts_);
  for (int32_t layer = 0; layer < num_layers_; ++layer) {
    for (int32_t e = 0; e < num_experts_; ++e) {
      own[e] = counts_[static_cast<size_t>(layer) * num_experts_ + e].load(std::memory_order_relaxed);
    }
    if (std::ranges::all_of(own, [](uint64_t count) { return count == 0; })) continue;
    counts[layer].resize(num_experts_);
    for (int32_t e = 0; e < num_experts_; ++e) counts[layer][e] += own[e];
  }
}

std::string ExpertCountsToJson(const ExpertCounts& counts) {
  Json json = {{"num_experts", 0}, {"layers", Json::object()}};
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    if (counts[layer].empty()) continue;
    json["num_experts"] = counts[layer].size();
    json["layers"][std::to_string(layer)] = counts[layer];
  }
  return json.dump();
}

Result<ExpertCounts> ReadExpertCounts(const Json& json, const std::string& path, int32_t num_experts) {
  if (!json.contains("layers") || !json["layers"].is_object()) {
    return InvalidArgument("{}: no object \"layers\", expected counts of tokens for each layer", path);
  }
  ExpertCounts counts;
  for (const auto& [name, values] : json["layers"].items()) {
    ASSIGN_OR_RETURN(const int32_t layer, ParseLayer(name, path));
    if (!values.is_array() || values.size() != static_cast<size_t>(num_experts)) {
      return InvalidArgument("{}: layer {}: {} counts, expected {}, one of each expert", path, layer,
                             values.size(), num_experts);
    }
    if (counts.size() <= static_cast<size_t>(layer)) counts.resize(layer + 1);
    for (const Json& value : values) {
      if (!value.is_number_unsigned()) {
        return InvalidArgument("{}: layer {}: count {}, expected a number of tokens", path, layer,
                               value.dump());
      }
      counts[layer].push_back(value.get<uint64_t>());
    }
  }
  return counts;
}

}  // namespace penstock
