// For tests: the checkpoints and the layouts that are tried with each other.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

#include "plan/parallel_layout.h"

namespace penstock::testing {

struct GoldenCase {
  std::string model;
  ParallelLayout layout;
  int32_t num_processes = 1;
};

inline std::string NameOf(const GoldenCase& test) {
  std::string name = test.model + "_" + LayoutName(test.layout);
  if (test.num_processes > 1) name += "_in_" + std::to_string(test.num_processes);
  std::ranges::replace_if(name, [](char c) { return c == '-' || c == '+'; }, '_');
  return name;
}

inline void PrintTo(const GoldenCase& test, std::ostream* out) { *out << NameOf(test); }

// Every architecture, and every way in which W8A8 is stored.
inline std::vector<GoldenCase> GoldenCases(
    const std::vector<std::pair<ParallelLayout, int32_t>>& layouts_and_processes) {
  std::vector<GoldenCase> cases;
  for (const std::string model :
       {"tiny-llama", "tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-v3", "tiny-qwen3-compressed-tensors",
        "tiny-qwen3-moe-w8a8-dynamic", "tiny-qwen3-moe-w8a8-static", "tiny-deepseek-v3-w8a8-dynamic",
        "tiny-deepseek-v3-w8a8-static"}) {
    const bool has_experts =
        model.find("moe") != std::string::npos || model.find("deepseek") != std::string::npos;
    for (const auto& [layout, processes] : layouts_and_processes) {
      if (layout.expert_parallel && !has_experts) continue;
      cases.push_back({model, layout, processes});
    }
  }
  return cases;
}

}  // namespace penstock::testing
