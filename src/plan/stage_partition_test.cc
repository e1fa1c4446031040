// SPDX-License-Identifier: Apache-2.0
#include "plan/stage_partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace penstock {
namespace {

using Layers = std::vector<int32_t>;

TEST(DefaultStagePartition, MatchesVllm) {
  EXPECT_EQ(*DefaultStagePartition(61, 1), (Layers{61}));
  EXPECT_EQ(*DefaultStagePartition(61, 2), (Layers{31, 30}));
  EXPECT_EQ(*DefaultStagePartition(61, 4), (Layers{15, 15, 16, 15}));
  EXPECT_EQ(*DefaultStagePartition(30, 4), (Layers{7, 8, 8, 7}));
  EXPECT_EQ(*DefaultStagePartition(63, 4), (Layers{16, 16, 16, 15}));
  EXPECT_EQ(*DefaultStagePartition(3, 3), (Layers{1, 1, 1}));
}

TEST(DefaultStagePartition, CoversEveryLayerOnce) {
  for (int32_t layers = 1; layers <= 100; ++layers) {
    for (int32_t stages = 1; stages <= layers; ++stages) {
      const Layers parts = *DefaultStagePartition(layers, stages);
      ASSERT_EQ(static_cast<int32_t>(parts.size()), stages);
      ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), 0), layers);
      ASSERT_GE(*std::min_element(parts.begin(), parts.end()), layers / stages);
      ASSERT_LE(*std::max_element(parts.begin(), parts.end()), layers / stages + 1);
    }
  }
}

TEST(DefaultStagePartition, RefusesMoreStagesThanLayers) {
  const auto parts = DefaultStagePartition(2, 3);
  ASSERT_FALSE(parts.ok());
  EXPECT_EQ(parts.status().message(),
            "pipeline of 3 stages: the model has 2 layers, every stage needs at least one");
}

TEST(ParseStagePartition, TakesTheOperatorsList) {
  EXPECT_EQ(*ParseStagePartition("10,20", 30, 2), (Layers{10, 20}));
  EXPECT_EQ(*ParseStagePartition(" 1, 2 ,3", 6, 3), (Layers{1, 2, 3}));
}

TEST(ParseStagePartition, NamesWhatIsWrong) {
  const auto message = [](std::string_view text) {
    return ParseStagePartition(text, 30, 2).status().message();
  };
  EXPECT_EQ(message("10,10,10"),
            "layer partition \"10,10,10\": got 3 numbers, expected 2, one for each pipeline stage");
  EXPECT_EQ(message("10,21"), "layer partition \"10,21\": the sum is 31, expected 30, the model's layers");
  EXPECT_EQ(message("30,0"), "layer partition \"30,0\": got \"0\", expected a number of layers > 0");
  EXPECT_EQ(message("15,x"), "layer partition \"15,x\": got \"x\", expected a number of layers > 0");
  EXPECT_EQ(message(""), "layer partition \"\": got \"\", expected a number of layers > 0");
  EXPECT_EQ(message("15,15,"), "layer partition \"15,15,\": got \"\", expected a number of layers > 0");
  EXPECT_EQ(message("99999999999,1"),
            "layer partition \"99999999999,1\": got \"99999999999\", expected a number of layers > 0");
}

}  // namespace
}  // namespace penstock
