// SPDX-License-Identifier: Apache-2.0
#include "plan/parse_layout.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ParseLayout, ReadsWhatLayoutNameWrites) {
  const ParallelLayout layouts[] = {
      {}, {.pp = 2, .tp = 8}, {.dp = 2, .pp = 3, .pcp = 4, .tp = 5, .expert_parallel = true}, {.pcp = 16}};
  for (const ParallelLayout& layout : layouts) EXPECT_EQ(*ParseLayout(LayoutName(layout)), layout);
  EXPECT_EQ(*ParseLayout("TP8PP2"), (ParallelLayout{.pp = 2, .tp = 8}));
  EXPECT_EQ(ParseLayouts("pp2tp8,tp16+ep")->at(1), (ParallelLayout{.tp = 16, .expert_parallel = true}));
}

TEST(ParseLayout, RefusesOthers) {
  for (const char* name :
       {"", "tp", "tp0", "tp-1", "tp2tp2", "xp2", "tp2 ", "+ep", "tp99999", "dp4096tp4096"})
    EXPECT_EQ(ParseLayout(name).status().code(), StatusCode::kInvalidArgument) << name;
  EXPECT_FALSE(ParseLayouts("tp2,").ok());
}

}  // namespace
}  // namespace penstock
