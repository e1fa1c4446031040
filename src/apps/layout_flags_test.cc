// SPDX-License-Identifier: Apache-2.0
#include "apps/layout_flags.h"

#include <gtest/gtest.h>

#include "apps/simulation_flags.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/ranked_model.h"
#include "model/testing/tiny_models.h"
#include "sim/layout_cost.h"

namespace penstock {
namespace {

using Words = std::vector<std::string>;
using testing::RankedModel;
using testing::TempDir;
using testing::TestSequence;

ParsedFlags Parse(const Words& words) { return *ParseFlags(words, SimulateCommandTable()); }
Result<LayoutSetup> Resolve(const Words& words) { return ResolveLayouts(Parse(words)); }
std::string Error(const Words& words) { return Resolve(words).status().message(); }

TEST(LayoutFlags, LayoutsMachineAndModel) {
  const LayoutSetup setup = *Resolve({"--layouts", "pp2tp8,dp2tp4+ep"});
  EXPECT_EQ(setup.layouts,
            (std::vector<ParallelLayout>{{.pp = 2, .tp = 8}, {.dp = 2, .tp = 4, .expert_parallel = true}}));
  EXPECT_EQ(setup.cluster, ClusterSpec());
  EXPECT_EQ(setup.model.num_layers, 61);
  const LayoutSetup other =
      *Resolve({"--layouts", "tp2", "--enable-expert-parallel", "--model", "qwen3-235b", "--cluster",
                R"({"step_us": 7})", "--cluster-set", "layer_us=8", "int8_gather=0"});
  EXPECT_TRUE(other.layouts.at(0).expert_parallel);
  EXPECT_EQ(other.model.num_layers, 94);
  EXPECT_EQ(other.cluster.step_us, 7);
  EXPECT_EQ(other.cluster.layer_us, 8);
  EXPECT_EQ(other.cluster.int8_gather, 0);
}

TEST(LayoutFlags, SaysWhatIsWrong) {
  EXPECT_EQ(Error({"--layouts", "tp2", "--cost", "deepseek-v3.1"}),
            "got --layouts and --cost, expected one of them");
  EXPECT_TRUE(Error({"--layouts", "tpx"}).starts_with("--layouts: got \"tpx\", expected a layout"));
  EXPECT_TRUE(Error({"--layouts", "tp2", "--cluster", "h100"}).starts_with("--cluster: got \"h100\""));
  EXPECT_EQ(Error({"--layouts", "tp2", "--cluster-set", "layer_us"}),
            "--cluster-set: got \"layer_us\", expected NAME=NUMBER");
  EXPECT_TRUE(Error({"--layouts", "tp2", "--cluster-set", "x=1"}).starts_with("--cluster-set: got \"x\""));
  EXPECT_TRUE(Error({"--layouts", "tp2", "--model", "gpt"}).starts_with("--model: got \"gpt\""));
  EXPECT_EQ(ResolveTraffic(Parse({"--client-ms", "5"})).status().message(),
            "--client-ms: expected --num-clients beside it");
}

TEST(LayoutFlags, ShapesOfCheckpoints) {
  TempDir dir;
  testing::WriteTinyModel(dir, testing::TinyConfig("deepseek_v3"));
  const ModelShape latent = Resolve({"--layouts", "tp2", "--model", dir.path()})->model;
  EXPECT_EQ(latent.num_layers, 4);
  EXPECT_EQ(latent.num_dense_layers, 1);
  EXPECT_EQ(latent.kv_lora_rank, 32);
  EXPECT_EQ(latent.num_shared_experts, 2);
  EXPECT_EQ(latent.weight_bytes, 2);
  TempDir other;
  const ModelShape grouped = ShapeOf(testing::WriteTinyModel(other, testing::TinyConfig("qwen3_moe")));
  EXPECT_EQ(grouped.num_dense_layers, 1);
  EXPECT_FALSE(grouped.latent());
}

// What LayoutCost says of a stage of one layer is what the ranks of a real one send, to the byte: stage 1 of
// four has a layer and neither embedding nor head.
TEST(LayoutFlags, RealRanksSendWhatTheSimulatorSays) {
  constexpr int32_t kTokens = 48;  // the same number for every rank
  const ModelOptions options = {.dtype = DType::kBF16,
                                .block_size = 16,
                                .max_batched_tokens = 128,
                                .max_model_len = 160,
                                .max_logit_rows = 128};
  const std::string kernels(UsableCpuIsas().front());
  for (const std::string& family : testing::Families()) {
    TempDir dir;
    const ModelConfig config = testing::WriteTinyModel(dir, testing::TinyConfig(family));
    for (const ParallelLayout& layout :
         {ParallelLayout{.pp = 4, .tp = 2}, {.pp = 4, .tp = 4}, {.pp = 4, .pcp = 2, .tp = 2}}) {
      for (double sequence_parallel : {0, 1}) {
        RankedModel model(dir.path(), config, layout, options, kernels, sequence_parallel > 0);
        TestSequence sequence = model.NewSequence(std::vector<int32_t>(kTokens, 5));
        model.Run({{&sequence, kTokens}}, {kTokens - 1});
        ClusterSpec cluster;
        cluster.sequence_parallel = sequence_parallel;
        const LayoutCost cost(ShapeOf(config), cluster, layout);
        for (int stage : {1, 2}) {
          const bool with_experts = family == "deepseek_v3" || (family == "qwen3_moe" && stage == 2);
          EXPECT_DOUBLE_EQ(static_cast<double>(model.SentBytes(stage)) / layout.ranks_per_stage(),
                           cost.Sent(kTokens, 0, with_experts).total() + cost.EntryBytes(kTokens, stage))
              << family << " " << LayoutName(layout) << " " << sequence_parallel << " stage " << stage;
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock
