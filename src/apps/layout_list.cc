// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_list.h"

#include <charconv>

namespace penstock {
namespace {

constexpr int32_t kMostRanks = 1024;

struct Dimension {
  std::string_view name;
  int32_t ParallelLayout::* size;
};

constexpr Dimension kDimensions[] = {{"pcp", &ParallelLayout::pcp},
                                     {"pp", &ParallelLayout::pp},
                                     {"tp", &ParallelLayout::tp},
                                     {"dp", &ParallelLayout::dp}};

// Takes "tp2" off the front of `rest`.
bool TakeDimension(std::string_view& rest, ParallelLayout& layout) {
  for (const Dimension& dimension : kDimensions) {
    if (!rest.starts_with(dimension.name)) continue;
    rest.remove_prefix(dimension.name.size());
    int32_t& size = layout.*dimension.size;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), size);
    if (error != std::errc() || size < 1 || size > kMostRanks) return false;
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    return true;
  }
  return false;
}

}  // namespace

Status CheckImplemented(const ParallelLayout& layout) {
  if (layout.dp == 1) return OkStatus();
  return Unimplemented("--data-parallel-size {}: not implemented yet; start one server for each replica",
                       layout.dp);
}

Result<ParallelLayout> ParseLayout(std::string_view name) {
  constexpr std::string_view kExperts = "+ep";
  ParallelLayout layout;
  std::string_view rest = name;
  if (rest.ends_with(kExperts)) {
    layout.expert_parallel = true;
    rest.remove_suffix(kExperts.size());
  }
  bool ok = !rest.empty();
  while (ok && !rest.empty()) ok = TakeDimension(rest, layout);
  if (!ok) return InvalidArgument("layout \"{}\": expected one like pp2, tp2, pcp2 or pp2tp2+ep", name);
  return layout;
}

std::vector<ParallelLayout> AllLayouts(int32_t num_ranks, bool expert_parallel) {
  std::vector<ParallelLayout> layouts;
  for (int32_t pp = num_ranks; pp >= 1; --pp) {
    for (int32_t tp = num_ranks; tp >= 1; --tp) {
      for (int32_t pcp = num_ranks; pcp >= 1; --pcp) {
        const int64_t product = int64_t{pp} * tp * pcp;
        if (num_ranks % product != 0) continue;
        const ParallelLayout layout{.dp = static_cast<int32_t>(num_ranks / product),
                                    .pp = pp,
                                    .pcp = pcp,
                                    .tp = tp,
                                    .expert_parallel = expert_parallel};
        if (CheckImplemented(layout).ok()) layouts.push_back(layout);
      }
    }
  }
  return layouts;
}

}  // namespace penstock
