// Ranks of a plan: their shares, cores and memory, and what is refused.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/engine_plan.h"

#include <gtest/gtest.h>

#include "apps/testing/small_plan.h"
#include "base/affinity.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

class EnginePlanTest : public ::testing::Test {
 protected:
  EnginePlanTest() { testing::WriteTinyModel(dir_, testing::TinyConfig("qwen3")); }

  RunConfig Run(const ParallelLayout& layout) const {
    RunConfig run;
    run.model_dir = dir_.path();
    run.kernel_isa = "auto";
    run.layout = layout;
    run.allow_oversubscription = true;
    run.num_blocks = 64;
    return run;
  }

  testing::TempDir dir_;
};

TEST_F(EnginePlanTest, EveryRankOfTheWorldHasItsShare) {
  const EnginePlan plan = *PlanEngine(Run({.dp = 2, .pp = 2, .pcp = 2, .tp = 2}));
  ASSERT_EQ(plan.ranges.size(), 16u);
  ASSERT_EQ(plan.cores.size(), 16u);
  for (size_t rank = 0; rank < 16; ++rank) {
    const LayerRange& range = plan.ranges[rank];
    const bool last_stage = rank / 4 % 2 == 1;
    EXPECT_EQ(range.first_layer, last_stage ? 2 : 0);
    EXPECT_EQ(range.last_layer, last_stage ? 4 : 2);
    EXPECT_EQ(range.has_embedding, !last_stage);
    EXPECT_EQ(range.has_head, last_stage);
    EXPECT_EQ(range.share.tp_rank, static_cast<int32_t>(rank % 2));
    EXPECT_EQ(range.share.pcp_rank, static_cast<int32_t>(rank / 2 % 2));
    EXPECT_EQ(range.share.tp_size, 2);
  }
  EXPECT_EQ(plan.Leader(1), 4u);
  const ReplicaRanks second = RanksOfReplica(plan, 1);
  ASSERT_EQ(second.ranges.size(), 8u);
  EXPECT_FALSE(second.ranges[7].has_embedding);
  EXPECT_EQ(second.cores[3], plan.cores[11]);
}

TEST_F(EnginePlanTest, ExpertsAreSpreadOnlyWhereThereAreAny) {
  EXPECT_EQ(PlanEngine(Run({.tp = 2, .expert_parallel = true}))->ranges[1].share.ep_size, 1);
}

TEST_F(EnginePlanTest, ExpertsArePlacedByWhatWasRecorded) {
  testing::TempDir dir;
  testing::WriteTinyModel(dir, testing::TinyConfig("qwen3_moe"));
  RunConfig run = Run({.tp = 2, .expert_parallel = true});
  run.model_dir = dir.path();
  const uint64_t even_bytes = PlanEngine(run)->memory.weight_bytes;
  EXPECT_EQ(PlanEngine(run)->ranges[0].share.experts, nullptr);
  run.experts.placement_file = dir.path() + "/load.json";
  run.experts.num_redundant = 2;
  EXPECT_EQ(PlanEngine(run).status().code(), StatusCode::kNotFound);
  dir.Write("load.json", R"({"num_experts": 8, "layers": {"2": [1, 1, 9, 1, 1, 1, 1, 1]}})");
  const EnginePlan plan = *PlanEngine(run);
  const ExpertPlacement* const experts = plan.ranges[1].share.experts;
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(experts, plan.experts.get());
  EXPECT_EQ(experts->RanksOf(2, 2).size(), 2u);
  EXPECT_EQ(experts->RanksOf(0, 2).size(), 1u) << "of layer 0 nothing is known";
  EXPECT_GT(plan.memory.weight_bytes, even_bytes) << "copies take memory";
  dir.Write("load.json", R"({"num_experts": 8, "layers": {"1": [1, 1, 9, 1, 1, 1, 1, 1]}})");
  EXPECT_EQ(PlanEngine(run).status().message(),
            "--expert-placement: " + run.experts.placement_file +
                ": layer 1 has counts, expected only layers of the model that have experts");
  run.model_dir = dir_.path();
  EXPECT_EQ(PlanEngine(run).status().message(),
            "--expert-placement " + run.experts.placement_file + ": the model has no experts");
}

TEST_F(EnginePlanTest, LanesTakeMemoryOfTheirOwn) {
  const auto activations = [&](const ParallelLayout& layout) {
    return PlanEngine(Run(layout))->memory.activation_bytes;
  };
  const uint64_t one_buffer = uint64_t{2048} * 64 * 4;  // rows, hidden_dim, f32
  EXPECT_GE(activations({.pcp = 2}), activations({}) + 4 * one_buffer);
}

TEST_F(EnginePlanTest, RefusesWhatDoesNotDivideAndTooManyRanks) {
  EXPECT_EQ(PlanEngine(Run({.tp = 3})).status().message(),
            "--tensor-parallel-size 3: the model's num_attention_heads is 4, expected a multiple of 3");
  EXPECT_EQ(PlanEngine(Run({.pp = 5})).status().code(), StatusCode::kInvalidArgument);
  const size_t num_cores = UsableCores().size();
  RunConfig run = Run({.pcp = static_cast<int32_t>(num_cores + 1)});
  EXPECT_TRUE(PlanEngine(run).ok());
  run.allow_oversubscription = false;
  const Status status = PlanEngine(run).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(
      status.message().starts_with(fmt::format("{0} ranks (pcp{0}) on {1} core", num_cores + 1, num_cores)))
      << status.message();
  EXPECT_NE(status.message().find("--allow-oversubscription"), std::string::npos);
}

TEST(FormatPipeline, NamesRanksWhereAStageHasSeveral) {
  EXPECT_EQ(FormatPipeline(SmallPlan()),
            "Pipeline of 2: stage 0: layers 0-3, core 0; stage 1: layers 4-7, core 1");
  EXPECT_EQ(FormatPipeline(SmallPlan(2, 2)),
            "Pipeline of 2 stages x 2 ranks (pp2tp2): stage 0: layers 0-3, ranks 0-1, cores 0; 1; stage 1: "
            "layers 4-7, ranks 2-3, cores 2; 3");
}

}  // namespace
}  // namespace penstock
