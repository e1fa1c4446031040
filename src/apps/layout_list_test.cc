// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_list.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

TEST(LayoutListTest, ReadsWhatLayoutNameWrites) {
  EXPECT_EQ(*ParseLayout("pp2"), (ParallelLayout{.pp = 2}));
  EXPECT_EQ(*ParseLayout("tp2pp4"), (ParallelLayout{.pp = 4, .tp = 2}));
  EXPECT_EQ(*ParseLayout("tp1"), ParallelLayout{});
  const ParallelLayout all{.dp = 2, .pp = 3, .pcp = 4, .tp = 5, .expert_parallel = true};
  EXPECT_EQ(*ParseLayout(LayoutName(all)), all);
  for (const char* bad : {"", "+ep", "pp", "pp0", "xp2", "pp2x", "tp99999999999", "2"}) {
    EXPECT_FALSE(ParseLayout(bad).ok()) << bad;
  }
}

TEST(LayoutListTest, AllLayoutsHaveAllRanksOnce) {
  EXPECT_EQ(AllLayouts(1, false), std::vector<ParallelLayout>{ParallelLayout{}});
  std::set<std::string> names;
  for (const ParallelLayout& layout : AllLayouts(4, true)) {
    EXPECT_EQ(layout.world_size(), 4);
    EXPECT_TRUE(CheckImplemented(layout).ok());
    EXPECT_TRUE(names.insert(LayoutName(layout)).second);
  }
  for (const char* name : {"pp4+ep", "tp4+ep", "pcp4+ep", "pp2tp2+ep", "pp2pcp2+ep", "pcp2tp2+ep"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

}  // namespace
}  // namespace penstock
