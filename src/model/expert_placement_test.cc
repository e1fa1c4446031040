// SPDX-License-Identifier: Apache-2.0
#include "model/expert_placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

int32_t NumHeld(const ExpertPlacement& placement, int32_t rank) {
  int32_t count = 0;
  for (int32_t e = 0; e < placement.num_experts(); ++e) count += placement.Holds(0, e, rank);
  return count;
}

TEST(ExpertPlacement, BlocksAreEvenUpToOne) {
  const auto placement = ExpertPlacement::Blocks(10, 4);
  EXPECT_EQ(NumHeld(placement, 0) + NumHeld(placement, 1) + NumHeld(placement, 2) + NumHeld(placement, 3),
            10);
  for (int32_t rank = 0; rank < 4; ++rank) {
    EXPECT_GE(NumHeld(placement, rank), 2);
    EXPECT_LE(NumHeld(placement, rank), 3);
  }
  EXPECT_TRUE(placement.Holds(7, 0, 0));
  EXPECT_TRUE(placement.Holds(7, 9, 3));
  EXPECT_EQ(placement.RankFor(0, 9, 1, 5), 3);
}

TEST(ExpertPlacement, FromLoadIsEvenerThanBlocksAndHoldsEveryExpert) {
  std::mt19937 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    const int32_t num_experts = 1 + static_cast<int32_t>(random() % 40);
    const int32_t ep_size = 1 + static_cast<int32_t>(random() % 8);
    const int32_t num_redundant = static_cast<int32_t>(random() % (num_experts * (ep_size - 1) + 1));
    std::vector<uint64_t> load(num_experts);
    for (uint64_t& count : load) count = random() % 3 == 0 ? random() % 10'000 : random() % 50;
    const auto placement = ExpertPlacement::FromLoad({load}, num_experts, ep_size, num_redundant);
    int32_t num_copies = 0, most = 0, least = num_experts;
    for (int32_t e = 0; e < num_experts; ++e) ASSERT_FALSE(placement.RanksOf(0, e).empty());
    for (int32_t rank = 0; rank < ep_size; ++rank) {
      const int32_t held = NumHeld(placement, rank);
      num_copies += held;
      most = std::max(most, held);
      least = std::min(least, held);
    }
    EXPECT_EQ(num_copies, num_experts + num_redundant);
    EXPECT_LE(most - least, 1);
  }
  // One expert has half of the load.
  const std::vector<uint64_t> load = {400, 10, 10, 10, 90, 90, 100, 90};
  const auto imbalance = [&](const ExpertPlacement& placement) { return LoadImbalance(placement, {load}); };
  EXPECT_DOUBLE_EQ(imbalance(ExpertPlacement::Blocks(8, 4)), 410.0 / 200);
  EXPECT_DOUBLE_EQ(imbalance(ExpertPlacement::FromLoad({load}, 8, 4, 0)), 410.0 / 200);
  EXPECT_LE(imbalance(ExpertPlacement::FromLoad({load}, 8, 4, 4)), 1.2);
  EXPECT_EQ(LoadImbalance(ExpertPlacement::Blocks(8, 4), {}), 1);
}

TEST(ExpertPlacement, CopiesTakeRowsInTurnAndOwnOnesFirst) {
  const auto placement = ExpertPlacement::FromSlots({{{0, 1}, {1, 2}, {1, 0}}}, 3, 3).value();
  EXPECT_EQ(placement.RankFor(0, 0, 1, 4), 0);
  EXPECT_EQ(placement.RankFor(0, 0, 1, 5), 2);
  EXPECT_EQ(placement.RankFor(0, 0, 2, 4), 2);
  EXPECT_EQ(placement.RankFor(0, 2, 0, 4), 1);
  EXPECT_EQ(placement.RankFor(3, 2, 0, 4), 2) << "a layer that was not given has blocks";
}

TEST(ExpertPlacement, RefusesWhatIsNoPlacement) {
  const auto refused = [](ExpertPlacement::LayerSlots slots) {
    return ExpertPlacement::FromSlots({std::move(slots)}, 3, 2).status().message();
  };
  EXPECT_EQ(refused({{0, 1}, {1}}), "expert placement, layer 0: expert 2 is on no rank");
  EXPECT_EQ(refused({{0, 1, 2}}), "expert placement, layer 0: 1 ranks, expected 2");
  EXPECT_NE(refused({{0, 1, 1}, {2}}), "");
  EXPECT_NE(refused({{0, 1}, {2, 3}}), "");
}

ModelConfig Config(int32_t num_experts, int32_t num_layers) {
  ModelConfig config;
  config.num_experts = num_experts;
  config.num_layers = num_layers;
  return config;
}

TEST(ExpertPlacement, ReadsWhatWasRecorded) {
  ExpertLoad load(3, 4);
  const std::vector<int32_t> ids = {3, 3, -1, 0, 3};
  load.Count(2, ids);
  load.Count(2, ids);
  ExpertCounts counts;
  load.AddTo(counts);
  load.AddTo(counts);
  EXPECT_EQ(counts, (ExpertCounts{{}, {}, {4, 0, 0, 12}}));
  const std::string text = ExpertCountsToJson(counts);
  const Json json = ParseJson(text, "load").value();
  EXPECT_EQ(ReadExpertCounts(json, "load", 4).value(), counts);
  EXPECT_FALSE(ReadExpertCounts(json, "load", 5).ok());
  const auto placement = ParseExpertPlacement(text, "load", Config(4, 3), 2, 1).value();
  EXPECT_EQ(placement.RanksOf(2, 3).size(), 2u);
  EXPECT_EQ(placement.RanksOf(1, 3).size(), 1u);
  const auto error = [&](const ModelConfig& config, int32_t num_redundant) {
    return ParseExpertPlacement(text, "load", config, 2, num_redundant).status().message();
  };
  EXPECT_EQ(error(Config(4, 3), 5), "num_redundant_experts = 5, expected 0 to 4: 4 experts on 2 ranks");
  EXPECT_EQ(error(Config(5, 3), 1), "load: layer 2: 4 counts, expected 5, one of each expert");
  EXPECT_EQ(error(Config(4, 2), 1),
            "load: layer 2 has counts, expected only layers of the model that have experts");
  EXPECT_FALSE(ParseExpertPlacement("{}", "load", Config(4, 3), 2, 1).ok());
}

TEST(ExpertPlacement, ReadsAnExpertMap) {
  ModelConfig config = Config(3, 4);
  config.decoder_sparse_step = 2;  // experts in layers 1 and 3
  const auto parse = [&](const std::string& text) { return ParseExpertPlacement(text, "map", config, 2, 0); };
  const std::string devices = R"("device_list": [
      {"device_id": 0, "device_expert": [2, 0]}, {"device_id": 1, "device_expert": [1, 2]}])";
  const auto placement = parse(R"({"moe_layer_count": 2, "layer_list": [{"layer_id": 0, )" + devices +
                               R"(}, {"layer_id": 1, )" + devices + "}]}")
                             .value();
  EXPECT_TRUE(placement.Holds(1, 2, 0));
  EXPECT_TRUE(placement.Holds(1, 2, 1));
  EXPECT_FALSE(placement.Holds(1, 1, 0));
  EXPECT_TRUE(placement.Holds(0, 0, 0)) << "before the first layer of experts";
  EXPECT_FALSE(placement.Holds(0, 2, 0));
  EXPECT_TRUE(placement.Holds(3, 2, 0));
  EXPECT_EQ(parse(R"({"layer_list": [{"layer_id": 2, )" + devices + "}]}").status().message(),
            "map: layer_id 2, expected less than 2, the layers of the model with experts");
  EXPECT_FALSE(parse(R"({"layer_list": [{"layer_id": 0, "device_list": [{"device_expert": ["a"]}]}]})").ok());
  EXPECT_EQ(parse(R"({"layer_list": [{"layer_id": 0, "device_list": [{"device_expert": [0, 1, 2]}]}]})")
                .status()
                .message(),
            "map: expert placement, layer 1: 1 ranks, expected 2");
}

}  // namespace
}  // namespace penstock
