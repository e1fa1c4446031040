// SPDX-License-Identifier: Apache-2.0
#include "plan/parallel_layout.h"

namespace penstock {

std::string LayoutName(const ParallelLayout& layout) {
  std::string name;
  const auto add = [&](const char* dimension, int32_t size) {
    if (size > 1) name += dimension + std::to_string(size);
  };
  add("dp", layout.dp);
  add("pp", layout.pp);
  add("pcp", layout.pcp);
  add("tp", layout.tp);
  if (name.empty()) name = "one rank";
  if (layout.expert_parallel) name += "+ep";
  return name;
}

}  // namespace penstock
