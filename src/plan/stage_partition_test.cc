// SPDX-License-Identifier: Apache-2.0
#include "plan/stage_partition.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <random>

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

double Worst(const LayerCosts& costs, const Layers& partition) {
  const std::vector<double> stages = costs.StageCosts(partition);
  return *std::max_element(stages.begin(), stages.end());
}

// Every partition, by recursion.
double BestByForce(const LayerCosts& costs, int32_t num_stages, Layers* partition) {
  const int32_t used = std::accumulate(partition->begin(), partition->end(), 0);
  const int32_t left = static_cast<int32_t>(costs.layers.size()) - used;
  if (num_stages == 1) {
    partition->push_back(left);
    const double worst = Worst(costs, *partition);
    partition->pop_back();
    return worst;
  }
  double best = std::numeric_limits<double>::infinity();
  for (int32_t count = 1; count <= left - (num_stages - 1); ++count) {
    partition->push_back(count);
    best = std::min(best, BestByForce(costs, num_stages - 1, partition));
    partition->pop_back();
  }
  return best;
}

TEST(BalancedStagePartition, IsTheBestThereIs) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> draw(0, 10);
  for (int round = 0; round < 60; ++round) {
    LayerCosts costs;
    for (int i = 0; i < 3 + round % 8; ++i) costs.layers.push_back(draw(random));
    costs.embedding = round % 3 == 0 ? draw(random) : 0;
    costs.head = round % 2 == 0 ? draw(random) : 0;
    const int32_t num_stages = 1 + round % 3;
    const Layers parts = *BalancedStagePartition(costs, num_stages);
    ASSERT_EQ(std::accumulate(parts.begin(), parts.end(), 0), static_cast<int32_t>(costs.layers.size()));
    ASSERT_GE(*std::min_element(parts.begin(), parts.end()), 1);
    Layers scratch;
    EXPECT_NEAR(Worst(costs, parts), BestByForce(costs, num_stages, &scratch), 1e-9);
  }
}

TEST(BalancedStagePartition, CountsEmbeddingAndHead) {
  LayerCosts costs{.layers = std::vector<double>(30, 1.0), .embedding = 0, .head = 0};
  EXPECT_EQ(*BalancedStagePartition(costs, 2), (Layers{15, 15}));
  costs.head = 4;
  EXPECT_EQ(*BalancedStagePartition(costs, 2), (Layers{17, 13}));
  costs.embedding = 4;
  EXPECT_EQ(*BalancedStagePartition(costs, 2), (Layers{15, 15}));
}

TEST(BalancedStagePartition, KeepsTheDefaultWhereItIsAsGood) {
  const LayerCosts alike{.layers = std::vector<double>(61, 1.0), .embedding = 0, .head = 0};
  EXPECT_EQ(*BalancedStagePartition(alike, 4), *DefaultStagePartition(61, 4));
  LayerCosts first_cheap = alike;
  for (int i = 0; i < 3; ++i) first_cheap.layers[i] = 0.5;
  EXPECT_EQ(*BalancedStagePartition(first_cheap, 2), (Layers{31, 30}));
}

TEST(BalancedStagePartition, SpreadsTheRestEvenly) {
  const LayerCosts costs{.layers = {9, 1, 1, 1, 1, 1, 1}, .embedding = 0, .head = 0};
  EXPECT_EQ(*BalancedStagePartition(costs, 3), (Layers{1, 3, 3}));
}

TEST(BalancedStagePartition, RefusesMoreStagesThanLayers) {
  EXPECT_FALSE(BalancedStagePartition({.layers = {1, 2}, .embedding = 0, .head = 0}, 3).ok());
}

TEST(ScaleToMeasured, ASlowStageLosesLayers) {
  const LayerCosts costs{.layers = std::vector<double>(30, 1.0), .embedding = 0, .head = 0};
  const Layers partition = {15, 15};
  // The second stage took twice as long for the same layers.
  const LayerCosts scaled = ScaleToMeasured(costs, partition, std::vector<double>{10, 20});
  EXPECT_NEAR(scaled.layers[29] / scaled.layers[0], 2, 1e-9);
  EXPECT_EQ(*BalancedStagePartition(scaled, 2), (Layers{19, 11}));
}

}  // namespace
}  // namespace penstock
