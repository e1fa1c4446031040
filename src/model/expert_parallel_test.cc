// Models whose experts are spread over ranks, which are threads, against the golden logits.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/thread_team.h"
#include "model/expert_load.h"
#include "model/expert_placement.h"
#include "model/testing/golden_data.h"
#include "model/testing/rank_threads.h"
#include "model/testing/ranked_model.h"
#include "model/testing/staged_model.h"

namespace penstock {
namespace {

using testing::Compare;
using testing::Golden;
using testing::RankedModel;
using testing::ReadGolden;
using testing::RunRanks;
using testing::StagedModel;
using testing::TestSequence;

const std::string kModelsDir = PENSTOCK_TEST_MODELS_DIR;
constexpr float kF32Tolerance = 3e-4f;  // as golden_test.cc has it
constexpr ModelOptions kOptions = {.dtype = DType::kF32,
                                   .block_size = 16,
                                   .max_batched_tokens = 512,
                                   .max_model_len = 512,
                                   .max_logit_rows = 512};

class ExpertParallelTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(Dir())) << Dir() << " is missing: run ctest";
    config_ = ReadModelConfig(Dir()).value();
    golden_ = ReadGolden(GetParam());
  }

  std::string Dir() const { return kModelsDir + "/" + GetParam(); }

  ModelConfig config_;
  Golden golden_;
};

uint64_t Sum(const ExpertCounts& counts) {
  uint64_t sum = 0;
  for (const auto& layer : counts) {
    for (const uint64_t count : layer) sum += count;
  }
  return sum;
}

// Every rank has a sequence of its own, as replicas have, and its steps are of other lengths than the
// others': some have nothing to do while the others have.
TEST_P(ExpertParallelTest, LogitsOfReplicas) {
  const std::vector<std::vector<int32_t>> lens = {
      {100, 1, 99, 64}, {1, 163, 36, 64}, {264, 0, 0, 0}, {0, 0, 200, 64}};
  for (const int size : {2, 4}) {
    RunRanks(size, [&](Communicator& comm) {
      ThreadTeam team(1);
      const auto kernels = MakeCpuKernels(team);
      const RankShare share{.ep_rank = comm.rank(), .ep_size = size};
      StagedModel model(Dir(), config_, 1, kOptions, *kernels, {}, share, {.ep = &comm});
      TestSequence sequence = model.NewSequence(golden_.Tokens());
      std::vector<std::vector<float>> rows;
      for (const int32_t len : lens[comm.rank()]) {
        auto step = len == 0 ? model.Run({}) : model.Run({{&sequence, len}});
        rows.insert(rows.end(), step.begin(), step.end());
      }
      EXPECT_LE(Compare(rows, golden_).max, kF32Tolerance) << comm.rank() << " of " << size;
      ExpertCounts counts;
      model.stage(0).expert_load()->AddTo(counts);
      const size_t num_layers =
          std::ranges::count_if(counts, [](const auto& layer) { return !layer.empty(); });
      EXPECT_EQ(Sum(counts), golden_.Tokens().size() * config_.num_experts_per_token * num_layers);
    });
  }
}

// Ranks that share the tokens of a step, and each the same ones, with the wanted rows of the last layer only.
TEST_P(ExpertParallelTest, LogitsOfEveryLayout) {
  for (const ParallelLayout& layout : {ParallelLayout{.tp = 2, .expert_parallel = true},
                                       {.tp = 4, .expert_parallel = true},
                                       {.pcp = 2, .expert_parallel = true},
                                       {.pcp = 3, .expert_parallel = true},
                                       {.pp = 2, .pcp = 2, .tp = 2, .expert_parallel = true}}) {
    for (const bool sequence_parallel : {false, true}) {
      if (sequence_parallel && layout.tp == 1) continue;
      RankedModel model(Dir(), config_, layout, kOptions, std::string(UsableCpuIsas().front()),
                        sequence_parallel);
      TestSequence sequence = model.NewSequence(golden_.Tokens());
      auto rows = model.RunChunks(sequence, {100, 1, 99});
      const auto last = model.Run({{&sequence, 64}}, {0, 62});
      rows.resize(golden_.Tokens().size(), std::vector<float>(config_.vocab_size, NAN));
      rows[200] = last[0];
      rows[262] = last[1];
      SCOPED_TRACE(LayoutName(layout) + (sequence_parallel ? " sp" : ""));
      Golden seen = golden_;
      const auto is_seen = [](int32_t pos) { return pos <= 200 || pos == 262; };
      seen.positions.clear();
      seen.logits.clear();
      for (size_t i = 0; i < golden_.positions.size(); ++i) {
        if (!is_seen(golden_.positions[i])) continue;
        seen.positions.push_back(golden_.positions[i]);
        seen.logits.push_back(golden_.logits[i]);
      }
      EXPECT_LE(Compare(rows, seen).max, kF32Tolerance);
    }
  }
}

// Experts where their load says, some twice.
TEST_P(ExpertParallelTest, LogitsWithRedundantExperts) {
  ExpertCounts load(config_.num_layers);
  for (auto& layer : load) {
    for (int32_t e = 0; e < config_.num_experts; ++e) layer.push_back(e * e % 7 * 100);
  }
  const auto placement = ExpertPlacement::FromLoad(load, config_.num_experts, 2, 2);
  RunRanks(2, [&](Communicator& comm) {
    ThreadTeam team(1);
    const auto kernels = MakeCpuKernels(team);
    const RankShare share{.ep_rank = comm.rank(), .ep_size = 2, .experts = &placement};
    StagedModel model(Dir(), config_, 1, kOptions, *kernels, {}, share, {.ep = &comm});
    TestSequence sequence = model.NewSequence(golden_.Tokens());
    EXPECT_LE(Compare(model.RunChunks(sequence, {200, 64}), golden_).max, kF32Tolerance);
  });
}

TEST_P(ExpertParallelTest, ARankTakesTheMemoryOfItsExperts) {
  ThreadTeam team(1);
  const auto kernels = MakeCpuKernels(team);
  const auto weight_bytes = [&](int32_t ep_size) {
    const LayerRange range{0, config_.num_layers, true, true, {.ep_rank = 0, .ep_size = ep_size}};
    return EstimateModelMemory(config_, range, kOptions, *kernels).value().weight_bytes;
  };
  const size_t one = weight_bytes(1), two = weight_bytes(2), four = weight_bytes(4);
  EXPECT_NEAR(static_cast<double>(one - two), 2.0 * static_cast<double>(two - four), 1.0);
  EXPECT_LT(four, one * 3 / 4);
}

// What goes to the experts is the integers that one rank would have made.
TEST(ExpertParallelW8A8, LogitsOfReplicas) {
  for (const std::string name : {"tiny-qwen3-moe-w8a8-dynamic", "tiny-deepseek-v3-w8a8-dynamic"}) {
    const std::string dir = kModelsDir + "/" + name;
    const ModelConfig config = ReadModelConfig(dir).value();
    const Golden golden = ReadGolden(name);
    const auto total = static_cast<int32_t>(golden.Tokens().size());
    RunRanks(2, [&](Communicator& comm) {
      ThreadTeam team(1);
      const auto kernels = MakeCpuKernels(team);
      StagedModel model(dir, config, 1, kOptions, *kernels, {}, {.ep_rank = comm.rank(), .ep_size = 2},
                        {.ep = &comm});
      TestSequence sequence = model.NewSequence(golden.Tokens());
      const int32_t first = comm.rank() == 0 ? total / 3 : 1;
      EXPECT_LE(Compare(model.RunChunks(sequence, {first, total - first}), golden).max, kF32Tolerance)
          << name;
    });
  }
}

INSTANTIATE_TEST_SUITE_P(All, ExpertParallelTest, ::testing::Values("tiny-qwen3-moe", "tiny-deepseek-v3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace penstock
