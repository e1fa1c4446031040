// SPDX-License-Identifier: Apache-2.0
#include "sim/layout_cost.h"

#include <gtest/gtest.h>

#include <cmath>

namespace penstock {
namespace {

const ModelShape kDeepSeek = *FindModelPreset("deepseek-v3.1");
const ModelShape kQwen = *FindModelPreset("qwen3-235b");
const StepWork kShort = WorkOf(ChunkShape{.pos = 32768, .len = 340});
const StepWork kLong = WorkOf(ChunkShape{.pos = 32768, .len = 32768});

LayoutCost CostOf(const ParallelLayout& layout, const ClusterSpec& cluster = {},
                  const ModelShape& model = kDeepSeek) {
  return LayoutCost(model, cluster, layout);
}

double TotalUs(const LayoutCost& cost, const StepWork& work) {
  double us = 0;
  for (int stage = 0; stage < cost.layout().pp; ++stage) us += cost.Time(work, stage).total_us();
  return us;
}

// A rank's all-gather and its reduce-scatter of N bytes send N (n - 1) / n each (comm/collectives.h).
TEST(LayoutCost, PlainTensorParallelSends) {
  ClusterSpec plain;
  plain.sequence_parallel = 0;
  const LayerBytes bytes = CostOf({.tp = 8}, plain).Sent(1000, 5000, false);
  const double hidden = 1000.0 * 7168 * 2;
  EXPECT_DOUBLE_EQ(bytes.attention, 2 * hidden * 7 / 8);
  EXPECT_DOUBLE_EQ(bytes.mlp, 2 * hidden * 7 / 8);
  EXPECT_EQ(bytes.experts, 0);
  EXPECT_EQ(bytes.context, 0);
  EXPECT_DOUBLE_EQ(CostOf({.tp = 8}, plain, kQwen).Sent(1000, 0, true).total(),
                   4 * 1000.0 * 4096 * 2 * 7 / 8);
}

TEST(LayoutCost, SequenceParallelGathersLateAndInt8) {
  const LayerBytes latent = CostOf({.tp = 4}).Sent(1000, 0, false);
  EXPECT_DOUBLE_EQ(latent.attention, (7168 + 1536 + 512 + 64) * 1000.0 * 2 * 3 / 4);
  EXPECT_DOUBLE_EQ(latent.mlp, 7168 * 1000.0 * (2 + 1) * 3 / 4);
  const LayerBytes grouped = CostOf({.tp = 4}, {}, kQwen).Sent(1000, 0, true);
  EXPECT_DOUBLE_EQ(grouped.attention, 4096 * 1000.0 * (2 + 1) * 3 / 4);
  ClusterSpec bf16;
  bf16.int8_gather = 0;
  EXPECT_DOUBLE_EQ(CostOf({.tp = 4}, bf16).Sent(1000, 0, false).mlp, 7168 * 1000.0 * (2 + 2) * 3 / 4);
}

// A token goes to the distinct ranks that have its experts: own rows, 8-bit out, bf16 back.
TEST(LayoutCost, ExpertsSend) {
  const LayerBytes bytes = CostOf({.tp = 2, .expert_parallel = true}).Sent(1000, 0, true);
  const double others = 1 * (1 - std::pow(0.5, 8));
  EXPECT_NEAR(bytes.experts, 500 * others * 7168 * (1 + 2), 1);
  EXPECT_EQ(bytes.mlp, 0);
  const double eight = CostOf({.tp = 8, .expert_parallel = true}).Sent(1000, 0, true).experts;
  const double most = 125.0 * 7 * 7168 * 3;  // all peers
  EXPECT_LT(eight, most);
  EXPECT_GT(eight, most / 2);
  EXPECT_EQ(CostOf({.tp = 8, .expert_parallel = true}).Sent(1000, 0, false).experts, 0);  // a dense layer
}

TEST(LayoutCost, ContextParallelSendsTheChunkOrAllOfTheHistory) {
  const ParallelLayout layout = {.pcp = 4, .tp = 2};
  const LayerBytes bytes = CostOf(layout).Sent(1000, 5000, false);
  EXPECT_DOUBLE_EQ(bytes.context, 1000 * (512 + 64) * 2.0 * 3 / 4);
  EXPECT_DOUBLE_EQ(bytes.attention, CostOf({.tp = 2}).Sent(250, 0, false).attention);
  ClusterSpec seed;
  seed.pcp_gathers_history = 1;
  EXPECT_DOUBLE_EQ(CostOf(layout, seed).Sent(1000, 5000, false).context, 6000 * (512 + 64) * 2.0 * 3 / 4);
  EXPECT_DOUBLE_EQ(CostOf(layout, {}, kQwen).Sent(1000, 5000, false).context,
                   1000 * 2 * 2 * 128 * 2.0 * 3 / 4);
}

TEST(LayoutCost, OneRankSendsNothing) {
  const LayoutCost cost = CostOf({});
  EXPECT_EQ(cost.Sent(1000, 5000, true).total(), 0);
  EXPECT_EQ(cost.Time(kLong, 0).collective_us, 0);
  EXPECT_EQ(CostOf({.expert_parallel = true}).Time(kLong, 0).collective_us, 0);
}

TEST(LayoutCost, MoreRanksComputeLess) {
  for (const ModelShape& model : {kDeepSeek, kQwen}) {
    for (bool spread : {false, true}) {
      double last_us = 1e18;
      for (int32_t tp : {1, 2, 4, 8, 16}) {
        const double us = TotalUs(CostOf({.tp = tp, .expert_parallel = spread}, {}, model), kLong);
        EXPECT_LT(us, last_us) << tp;
        last_us = us;
      }
      EXPECT_LT(TotalUs(CostOf({.pcp = 2, .tp = 8, .expert_parallel = spread}, {}, model), kLong),
                TotalUs(CostOf({.tp = 8, .expert_parallel = spread}, {}, model), kLong));
    }
  }
}

// What the ranks of a stage do not share, they do again.
TEST(LayoutCost, ShortChunksGainLittleFromMoreRanks) {
  const double tp8 = TotalUs(CostOf({.tp = 8, .expert_parallel = true}), kShort);
  EXPECT_GT(TotalUs(CostOf({.tp = 16, .expert_parallel = true}), kShort), 0.5 * tp8);
  EXPECT_GT(TotalUs(CostOf({.pcp = 2, .tp = 8, .expert_parallel = true}), kShort),
            TotalUs(CostOf({.tp = 16, .expert_parallel = true}), kShort));
}

TEST(LayoutCost, NothingThatIsBetterMakesItSlower) {
  const ParallelLayout layouts[] = {
      {.pp = 2, .tp = 8, .expert_parallel = true}, {.pcp = 2, .tp = 8, .expert_parallel = true}, {.tp = 16}};
  const auto is_a_speed = [](std::string_view name) {
    return name.ends_with("_per_s") || name.ends_with("_flops") || name.ends_with("_efficiency") ||
           name == "devices_per_node";
  };
  for (const ParallelLayout& layout : layouts) {
    for (const StepWork& work : {kShort, kLong}) {
      const double us = TotalUs(CostOf(layout), work);
      for (const ClusterField& field : ClusterFields()) {
        ClusterSpec better;
        if (is_a_speed(field.name)) {
          better.*field.member *= 2;
        } else if (field.name.ends_with("_us") || field.name == "expert_imbalance") {
          better.*field.member /= 2;
        } else {
          continue;
        }
        EXPECT_LE(TotalUs(CostOf(layout, better), work), us * (1 + 1e-12)) << field.name;
      }
    }
  }
}

TEST(LayoutCost, LinksBetweenNodesAreSlower) {
  ClusterSpec two_nodes;
  two_nodes.devices_per_node = 8;
  const ParallelLayout wide = {.tp = 16}, staged = {.pp = 2, .tp = 8};
  EXPECT_GT(CostOf(wide, two_nodes).Time(kLong, 0).collective_us,
            3 * CostOf(wide).Time(kLong, 0).collective_us);
  EXPECT_EQ(TotalUs(CostOf(staged, two_nodes), kLong), TotalUs(CostOf(staged), kLong));
  EXPECT_GT(CostOf(staged, two_nodes).TransferUs(1000), CostOf(staged).TransferUs(1000));
}

TEST(LayoutCost, StagesShareTheLayers) {
  const double whole = TotalUs(CostOf({.tp = 8}), kLong), staged = TotalUs(CostOf({.pp = 4, .tp = 8}), kLong);
  EXPECT_NEAR(staged, whole + 3 * ClusterSpec().step_us, 1e-6 * whole);
  // The weights of 671 billion parameters.
  EXPECT_NEAR(CostOf({}).WeightBytes(), 671e9, 0.02 * 671e9);
  EXPECT_NEAR(CostOf({.pp = 2, .tp = 8}).WeightBytes(), 671e9 / 16, 0.05 * 671e9 / 16);
  EXPECT_NEAR(CostOf({.tp = 8}, {}, kQwen).WeightBytes(), 235e9 / 8, 0.03 * 235e9 / 8);
}

TEST(LayoutCost, TheHostIsTheLeastThatALayerTakes) {
  ClusterSpec slow_host;
  slow_host.launch_us = 5000;
  slow_host.launch_collective_us = 0;
  const StepWork one = WorkOf(ChunkShape{.pos = 0, .len = 1});
  const StageTime time = CostOf({.tp = 16, .expert_parallel = true}, slow_host).Time(one, 0);
  EXPECT_NEAR(time.total_us(), 61 * 5000 + slow_host.step_us, 1000);
  EXPECT_NEAR(CostOf({.tp = 8}, slow_host).Time(kLong, 0).total_us(),
              CostOf({.tp = 8}).Time(kLong, 0).total_us(), 1e-6);
}

TEST(LayoutCost, ReplicasInLockStepShareTheExperts) {
  const LayoutCost together = CostOf({.dp = 2, .tp = 8, .expert_parallel = true});
  EXPECT_TRUE(together.lock_step());
  EXPECT_FALSE(CostOf({.dp = 2, .tp = 8}).lock_step());
  ClusterSpec apart;
  apart.lock_step = 0;
  EXPECT_FALSE(CostOf({.dp = 2, .tp = 8, .expert_parallel = true}, apart).lock_step());
  EXPECT_GT(together.Time(kLong, 0, 32768).total_us(), together.Time(kLong, 0).total_us());
  EXPECT_LT(together.WeightBytes(), 0.6 * CostOf({.tp = 8, .expert_parallel = true}).WeightBytes());
}

// The planner believes what a calibration would find. Its form has no time that a step takes at least
// whatever is in it, so where the host is the limit it is off by more than elsewhere.
TEST(LayoutCost, TheFitPredictsChunks) {
  for (const ClusterPreset& preset : ClusterPresets()) {
    const LayoutCost cost = CostOf({.pp = 2, .tp = 8, .expert_parallel = true}, preset.cluster);
    const CostModel fit = cost.Fit(32768, 131072);
    ASSERT_EQ(fit.num_stages(), 2);
    for (int32_t pos : {0, 16384, 65536}) {
      for (int32_t len : {512, 4096, 16384, 32768}) {
        const double us = cost.Time(WorkOf(ChunkShape{.pos = pos, .len = len}), 1).total_us();
        EXPECT_NEAR(fit.stages[1].PredictChunk(pos, len), us, 0.25 * us)
            << preset.name << " " << pos << " " << len;
      }
    }
  }
}

}  // namespace
}  // namespace penstock
