// SPDX-License-Identifier: Apache-2.0
#include "model/expert_placement.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/json.h"
#include "comm/collectives.h"

namespace penstock {
namespace {

bool Has(const std::vector<int32_t>& values, int32_t value) {
  return std::ranges::find(values, value) != values.end();
}

// How many copies each expert gets.
std::vector<int32_t> Replicate(const std::vector<uint64_t>& load, int32_t ep_size, int32_t num_redundant) {
  std::vector<int32_t> copies(load.size(), 1);
  for (int32_t i = 0; i < num_redundant; ++i) {
    size_t hottest = load.size();
    double most = -1;
    for (size_t e = 0; e < load.size(); ++e) {
      const double share = static_cast<double>(load[e]) / copies[e];
      if (copies[e] < ep_size && share > most) {
        most = share;
        hottest = e;
      }
    }
    ++copies[hottest];
  }
  return copies;
}

// The state of packing one layer.
class Packing {
 public:
  Packing(int32_t num_copies, int32_t ep_size) : load_(ep_size, 0.0), slots_(ep_size) {
    for (int32_t r = 0; r < ep_size; ++r) {
      room_.push_back(RowCut(num_copies, ep_size, r + 1) - RowCut(num_copies, ep_size, r));
    }
  }

  void Place(int32_t expert, double load) {
    int32_t best = -1;
    for (size_t r = 0; r < slots_.size(); ++r) {
      if (room_[r] > 0 && !Has(slots_[r], expert) && (best < 0 || load_[r] < load_[best])) {
        best = static_cast<int32_t>(r);
      }
    }
    if (best < 0) best = MakeRoom(expert);
    Add(best, expert, load);
  }

  ExpertPlacement::LayerSlots Take() && {
    for (auto& slots : slots_) std::ranges::sort(slots);
    return std::move(slots_);
  }

 private:
  void Add(int32_t rank, int32_t expert, double load) {
    slots_[rank].push_back(expert);
    load_[rank] += load;
    --room_[rank];
  }

  // All ranks with room hold the expert already. A rank without it is full, and so has one that a rank with
  // room lacks: that one moves.
  int32_t MakeRoom(int32_t expert) {
    const auto to = std::ranges::find_if(room_, [](int64_t room) { return room > 0; }) - room_.begin();
    for (size_t from = 0; from < slots_.size(); ++from) {
      if (Has(slots_[from], expert)) continue;
      for (int32_t& other : slots_[from]) {
        if (Has(slots_[to], other)) continue;
        const int32_t moved = other;
        slots_[from].erase(slots_[from].begin() + (&other - slots_[from].data()));
        ++room_[from];
        Add(static_cast<int32_t>(to), moved, 0);
        return static_cast<int32_t>(from);
      }
    }
    CHECK(false) << "no rank for expert " << expert;
    return -1;
  }

  std::vector<int64_t> room_;
  std::vector<double> load_;
  ExpertPlacement::LayerSlots slots_;
};

ExpertPlacement::LayerSlots Pack(const std::vector<uint64_t>& load, int32_t ep_size, int32_t num_redundant) {
  const std::vector<int32_t> copies = Replicate(load, ep_size, num_redundant);
  std::vector<int32_t> order(load.size());
  std::iota(order.begin(), order.end(), 0);
  const auto share = [&](int32_t e) { return static_cast<double>(load[e]) / copies[e]; };
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return share(a) > share(b); });
  Packing packing(static_cast<int32_t>(load.size()) + num_redundant, ep_size);
  for (const int32_t e : order) {
    for (int32_t i = 0; i < copies[e]; ++i) packing.Place(e, share(e));
  }
  return std::move(packing).Take();
}

Result<ExpertPlacement::LayerSlots> ReadDevices(const Json& devices, const std::string& path) {
  ExpertPlacement::LayerSlots slots;
  for (const Json& device : devices) {
    if (!device.is_object() || !device.contains("device_expert") || !device["device_expert"].is_array()) {
      return InvalidArgument("{}: a device without a list \"device_expert\"", path);
    }
    slots.emplace_back();
    for (const Json& expert : device["device_expert"]) {
      if (!expert.is_number_integer()) {
        return InvalidArgument("{}: device_expert {}, expected the number of an expert", path, expert.dump());
      }
      slots.back().push_back(expert.get<int32_t>());
    }
  }
  return slots;
}

std::vector<int32_t> LayersWithExperts(const ModelConfig& config) {
  std::vector<int32_t> layers;
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    if (HasExperts(config, layer)) layers.push_back(layer);
  }
  return layers;
}

Result<std::vector<ExpertPlacement::LayerSlots>> ReadExpertMap(const Json& json, const std::string& path,
                                                               const ModelConfig& config) {
  const std::vector<int32_t> moe_layers = LayersWithExperts(config);
  std::vector<ExpertPlacement::LayerSlots> layers(config.num_layers);
  for (const Json& layer : json["layer_list"]) {
    if (!layer.is_object() || !layer.contains("layer_id") || !layer["layer_id"].is_number_integer() ||
        !layer.contains("device_list") || !layer["device_list"].is_array()) {
      return InvalidArgument("{}: a layer without \"layer_id\" and \"device_list\"", path);
    }
    const int64_t id = layer["layer_id"].get<int64_t>();
    if (id < 0 || id >= static_cast<int64_t>(moe_layers.size())) {
      return InvalidArgument("{}: layer_id {}, expected less than {}, the layers of the model with experts",
                             path, id, moe_layers.size());
    }
    ASSIGN_OR_RETURN(layers[moe_layers[static_cast<size_t>(id)]], ReadDevices(layer["device_list"], path));
  }
  return layers;
}

Status CheckSlots(const ExpertPlacement::LayerSlots& slots, size_t layer, int32_t num_experts,
                  int32_t ep_size) {
  if (slots.size() != static_cast<size_t>(ep_size)) {
    return InvalidArgument("expert placement, layer {}: {} ranks, expected {}", layer, slots.size(), ep_size);
  }
  std::vector<bool> is_somewhere(num_experts, false);
  for (int32_t rank = 0; rank < ep_size; ++rank) {
    std::vector<bool> is_here(num_experts, false);
    for (const int32_t e : slots[rank]) {
      if (e < 0 || e >= num_experts || is_here[e]) {
        return InvalidArgument(
            "expert placement, layer {}, rank {}: expert {}, expected each at most once, of {}", layer, rank,
            e, num_experts);
      }
      is_here[e] = is_somewhere[e] = true;
    }
  }
  const auto missing = std::ranges::find(is_somewhere, false);
  if (missing == is_somewhere.end()) return OkStatus();
  return InvalidArgument("expert placement, layer {}: expert {} is on no rank", layer,
                         missing - is_somewhere.begin());
}

}  // namespace

ExpertPlacement::ExpertPlacement(int32_t num_experts, int32_t ep_size)
    : num_experts_(num_experts), ep_size_(ep_size) {
  LayerSlots slots(ep_size);
  for (int32_t r = 0; r < ep_size; ++r) {
    for (int64_t e = RowCut(num_experts, ep_size, r); e < RowCut(num_experts, ep_size, r + 1); ++e) {
      slots[r].push_back(static_cast<int32_t>(e));
    }
  }
  blocks_ = MakeLayer(slots);
}

ExpertPlacement ExpertPlacement::Blocks(int32_t num_experts, int32_t ep_size) {
  return ExpertPlacement(num_experts, ep_size);
}

ExpertPlacement ExpertPlacement::FromLoad(const ExpertCounts& load, int32_t num_experts, int32_t ep_size,
                                          int32_t num_redundant) {
  CHECK(num_redundant >= 0 && int64_t{num_redundant} <= int64_t{num_experts} * (ep_size - 1))
      << num_redundant;
  ExpertPlacement placement(num_experts, ep_size);
  for (const auto& counts : load) {
    placement.layers_.push_back(counts.empty() ? Layer{}
                                               : placement.MakeLayer(Pack(counts, ep_size, num_redundant)));
  }
  return placement;
}

Result<ExpertPlacement> ExpertPlacement::FromSlots(std::vector<LayerSlots> layers, int32_t num_experts,
                                                   int32_t ep_size) {
  ExpertPlacement placement(num_experts, ep_size);
  for (size_t i = 0; i < layers.size(); ++i) {
    placement.layers_.emplace_back();
    if (layers[i].empty()) continue;
    RETURN_IF_ERROR(CheckSlots(layers[i], i, num_experts, ep_size));
    placement.layers_.back() = placement.MakeLayer(layers[i]);
  }
  return placement;
}

ExpertPlacement::Layer ExpertPlacement::MakeLayer(const LayerSlots& slots) const {
  Layer layer;
  layer.all_ranks_hold = std::ranges::none_of(slots, [](const auto& held) { return held.empty(); });
  layer.begin.push_back(0);
  for (int32_t e = 0; e < num_experts_; ++e) {
    for (int32_t rank = 0; rank < ep_size_; ++rank) {
      if (Has(slots[rank], e)) layer.ranks.push_back(rank);
    }
    layer.begin.push_back(static_cast<int32_t>(layer.ranks.size()));
  }
  return layer;
}

const ExpertPlacement::Layer& ExpertPlacement::LayerOf(int32_t layer) const {
  const bool own = static_cast<size_t>(layer) < layers_.size() && !layers_[layer].begin.empty();
  return own ? layers_[layer] : blocks_;
}

std::span<const int32_t> ExpertPlacement::RanksOf(int32_t layer, int32_t expert) const {
  const Layer& from = LayerOf(layer);
  return std::span(from.ranks).subspan(from.begin[expert], from.begin[expert + 1] - from.begin[expert]);
}

bool ExpertPlacement::Holds(int32_t layer, int32_t expert, int32_t rank) const {
  return std::ranges::find(RanksOf(layer, expert), rank) != RanksOf(layer, expert).end();
}

double LoadImbalance(const ExpertPlacement& placement, const ExpertCounts& counts) {
  std::vector<double> loads(placement.ep_size(), 0.0);
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    for (size_t e = 0; e < counts[layer].size(); ++e) {
      const auto ranks = placement.RanksOf(static_cast<int32_t>(layer), static_cast<int32_t>(e));
      for (const int32_t rank : ranks) {
        loads[rank] += static_cast<double>(counts[layer][e]) / static_cast<double>(ranks.size());
      }
    }
  }
  const double sum = std::accumulate(loads.begin(), loads.end(), 0.0);
  return sum == 0 ? 1 : std::ranges::max(loads) * static_cast<double>(loads.size()) / sum;
}

Result<ExpertPlacement> ParseExpertPlacement(std::string_view text, const std::string& path,
                                             const ModelConfig& config, int32_t ep_size,
                                             int32_t num_redundant) {
  const int64_t most = int64_t{config.num_experts} * (ep_size - 1);
  if (num_redundant < 0 || num_redundant > most) {
    return InvalidArgument("num_redundant_experts = {}, expected 0 to {}: {} experts on {} ranks",
                           num_redundant, most, config.num_experts, ep_size);
  }
  ASSIGN_OR_RETURN(const Json json, ParseJson(text, path));
  if (json.contains("layer_list") && json["layer_list"].is_array()) {
    ASSIGN_OR_RETURN(std::vector<ExpertPlacement::LayerSlots> layers, ReadExpertMap(json, path, config));
    Result<ExpertPlacement> placement =
        ExpertPlacement::FromSlots(std::move(layers), config.num_experts, ep_size);
    if (!placement.ok()) return placement.status().WithContext(path);
    return placement;
  }
  ASSIGN_OR_RETURN(const ExpertCounts counts, ReadExpertCounts(json, path, config.num_experts));
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    if (counts[layer].empty() || HasExperts(config, static_cast<int32_t>(layer))) continue;
    return InvalidArgument("{}: layer {} has counts, expected only layers of the model that have experts",
                           path, layer);
  }
  return ExpertPlacement::FromLoad(counts, config.num_experts, ep_size, num_redundant);
}

}  // namespace penstock
