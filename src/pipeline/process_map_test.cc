// SPDX-License-Identifier: Apache-2.0
#include "pipeline/process_map.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

std::string ErrorOf(const ParallelLayout& layout, int32_t num_processes) {
  const Status status = CheckProcessMap({.layout = layout, .num_processes = num_processes});
  if (status.ok()) return "";
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  return status.message();
}

TEST(ProcessMapTest, NeighboursAreTogether) {
  const ProcessMap map{.layout = {.pp = 2, .tp = 4}, .num_processes = 4};
  EXPECT_EQ(map.ranks_per_process(), 2);
  EXPECT_EQ(map.ProcessOf(5), 2);
  EXPECT_EQ(map.LocalIndex(5), 1);
  EXPECT_EQ(map.FirstRank(2), 4);
}

TEST(ProcessMapTest, WhatIsAllowed) {
  // One process for all; one for each rank, whatever they share.
  for (const ParallelLayout& layout : {ParallelLayout{.pp = 2, .pcp = 2, .tp = 2},
                                       {.dp = 2, .pp = 2, .tp = 2, .expert_parallel = true},
                                       {.pp = 3, .pcp = 3}}) {
    EXPECT_EQ(ErrorOf(layout, 1), "");
    EXPECT_EQ(ErrorOf(layout, layout.world_size()), "");
  }
  EXPECT_EQ(ErrorOf({.pp = 4, .tp = 2}, 2), "");           // two stages each
  EXPECT_EQ(ErrorOf({.pp = 4, .tp = 2}, 4), "");           // one stage each
  EXPECT_EQ(ErrorOf({.dp = 2, .pp = 2, .tp = 2}, 2), "");  // a replica each
  EXPECT_EQ(ErrorOf({.pp = 2, .tp = 2, .expert_parallel = true}, 2), "");
}

TEST(ProcessMapTest, WhatIsNot) {
  const auto says = [](const ParallelLayout& layout, int32_t processes, const std::string& part) {
    const std::string error = ErrorOf(layout, processes);
    EXPECT_NE(error.find(part), std::string::npos) << LayoutName(layout) << ": '" << error << "'";
  };
  says({.pp = 2, .tp = 2}, 3, "3 MPI processes for 4 ranks (pp2tp2");
  says({.tp = 2}, 4, "4 MPI processes for 2 ranks");
  says({.tp = 4}, 2, "whole stages of 4 ranks");  // halves of a stage
  says({.pp = 3, .tp = 2}, 4, "4 MPI processes for 6 ranks");
  says({.pp = 2, .tp = 3}, 3, "whole stages of 3 ranks");  // parts of two stages
  says({.dp = 3, .pp = 2}, 2, "of one replica");           // one and a half
  says({.dp = 4, .tp = 2}, 2, "of one replica");           // two
  // The stage's own group, by which its ranks agree on what is dropped, would be of both kinds.
  says({.pcp = 2, .tp = 2}, 2, "whole stages of 4 ranks");
  says({.pcp = 2, .tp = 2, .expert_parallel = true}, 2, "whole stages of 4 ranks");
  says({.dp = 2, .tp = 2, .expert_parallel = true}, 2, "experts that span replicas");
}

}  // namespace
}  // namespace penstock
