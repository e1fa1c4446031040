// However the ranks share a model, its logits are the same: in any layout, with any chunks.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "model/testing/kernel_cases.h"
#include "model/testing/ranked_model.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

using testing::MaxDifference;
using testing::RankedModel;
using testing::StagedModel;
using testing::TempDir;
using testing::TestSequence;

constexpr int32_t kNumTokens = 70;
constexpr float kTolerance = 1e-4f;  // fp32; the logits' standard deviation is near 1

const ModelOptions kOptions = {.dtype = DType::kF32,
                               .block_size = 16,
                               .max_batched_tokens = 128,
                               .max_model_len = 160,
                               .max_logit_rows = 128};

struct Case {
  std::string family;
  ParallelLayout layout;
  bool sequence_parallel = false;
};

std::string NameOf(const Case& test) {
  std::string name = test.family + "_" + LayoutName(test.layout) + (test.sequence_parallel ? "_sp" : "");
  std::ranges::replace(name, '+', '_');
  return name;
}

void PrintTo(const Case& test, std::ostream* out) { *out << NameOf(test); }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string& family : testing::Families()) {
    for (const ParallelLayout& layout : {ParallelLayout{.tp = 2},
                                         {.tp = 4},
                                         {.pp = 2, .tp = 2},
                                         {.pcp = 2},
                                         {.pcp = 3},
                                         {.pp = 2, .pcp = 2},
                                         {.pcp = 2, .tp = 2},
                                         {.tp = 4, .expert_parallel = true},
                                         {.pp = 2, .pcp = 2, .expert_parallel = true},
                                         {.pcp = 2, .tp = 2, .expert_parallel = true}}) {
      if (layout.expert_parallel && !family.ends_with("moe") && !family.starts_with("deepseek")) continue;
      cases.push_back({family, layout});
      if (layout.tp > 1) cases.push_back({family, layout, true});
    }
  }
  return cases;
}

class LayoutTest : public ::testing::TestWithParam<Case> {
 protected:
  LayoutTest() : config_(testing::WriteTinyModel(dir_, testing::TinyConfig(GetParam().family))) {}

  static std::vector<int32_t> Tokens(int32_t count, int32_t seed = 1) {
    std::vector<int32_t> tokens(count);
    for (int32_t i = 0; i < count; ++i) tokens[i] = (i * 31 + seed * 17 + i * i * 7) % 97;
    return tokens;
  }

  std::vector<std::vector<float>> Whole() {
    testing::TestKernels kernels("ref");
    StagedModel model(dir_.path(), config_, 1, kOptions, *kernels.kernels);
    TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
    return model.RunChunks(sequence, {kNumTokens});
  }

  RankedModel Make() {
    const std::string kernels(UsableCpuIsas().front());
    return RankedModel(dir_.path(), config_, GetParam().layout, kOptions, kernels,
                       GetParam().sequence_parallel);
  }

  TempDir dir_;
  const ModelConfig config_;
};

TEST_P(LayoutTest, LogitsAreThoseOfOneRank) {
  const auto expected = Whole();
  for (const std::vector<int32_t>& lens : std::vector<std::vector<int32_t>>{{70}, {3, 13, 1, 29, 7, 17}}) {
    RankedModel model = Make();
    TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
    EXPECT_LE(MaxDifference(model.RunChunks(sequence, lens), expected), kTolerance) << lens.size();
  }
}

TEST_P(LayoutTest, OnlyTheWantedRowsOfSeveralSequences) {
  const auto expected = Whole();
  RankedModel model = Make();
  TestSequence other = model.NewSequence(Tokens(50, 5));
  TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
  model.Run({{&other, 33}, {&sequence, 20}}, {52});
  auto rows = model.Run({{&other, 1}, {&sequence, 49}}, {0, 49, 49});  // one of each, one of them twice
  EXPECT_LE(MaxDifference({rows[1], rows[2]}, {expected[68], expected[68]}), kTolerance);
  rows = model.Run({{&other, 1}, {&sequence, 1}}, {0, 1});  // decode
  EXPECT_LE(MaxDifference({rows[1]}, {expected[69]}), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(All, LayoutTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace penstock
