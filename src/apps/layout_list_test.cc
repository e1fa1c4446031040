// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_list.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

TEST(LayoutListTest, AllLayoutsHaveAllRanksOnce) {
  EXPECT_EQ(AllLayouts(1, false), std::vector<ParallelLayout>{ParallelLayout{}});
  std::set<std::string> names;
  for (const ParallelLayout& layout : AllLayouts(4, true)) {
    EXPECT_EQ(layout.world_size(), 4);
    EXPECT_TRUE(names.insert(LayoutName(layout)).second);
  }
  for (const char* name :
       {"dp4+ep", "dp2pp2+ep", "pp4+ep", "tp4+ep", "pcp4+ep", "pp2tp2+ep", "pp2pcp2+ep", "pcp2tp2+ep"}) {
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

}  // namespace
}  // namespace penstock
