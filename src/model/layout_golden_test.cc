// Golden logits and greedy tokens in every layout: every family, in fp32, bf16 and W8A8.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "model/testing/golden_data.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/ranked_model.h"
#include "model/testing/staged_model.h"

namespace penstock {
namespace {

using testing::Argmax;
using testing::Compare;
using testing::Error;
using testing::Golden;
using testing::RankedModel;
using testing::ReadGolden;
using testing::TestSequence;

const std::string kModelsDir = PENSTOCK_TEST_MODELS_DIR;

constexpr float kF32Tolerance = 3e-4f;

struct Layout {
  ParallelLayout layout;
  bool sequence_parallel = false;
};

struct Case {
  std::string model;
  Layout layout;
};

std::string NameOf(const Case& test) {
  std::string name = test.model + "_" + LayoutName(test.layout.layout);
  if (test.layout.sequence_parallel) name += "_sp";
  std::ranges::replace(name, '-', '_');
  std::ranges::replace(name, '+', '_');
  return name;
}

void PrintTo(const Case& test, std::ostream* out) { *out << NameOf(test); }

class LayoutGoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  RankedModel Make(DType dtype, std::optional<DType> kv_dtype = std::nullopt) {
    const ModelOptions options = {.dtype = dtype,
                                  .block_size = 16,
                                  .max_batched_tokens = 512,
                                  .max_model_len = 512,
                                  .max_logit_rows = 512,
                                  .kv_dtype = kv_dtype};
    return RankedModel(Dir(), config_, GetParam().layout.layout, options,
                       std::string(UsableCpuIsas().front()), GetParam().layout.sequence_parallel);
  }

  std::string Dir() const { return kModelsDir + "/" + GetParam().model; }

  // Chunks of about these shares of all tokens.
  std::vector<int32_t> Chunks() const {
    const auto total = static_cast<int32_t>(golden_.Tokens().size());
    const int32_t first = total * 2 / 5, third = total / 3;
    return {first, 1, third, total - first - third - 1};
  }

  const ModelConfig config_ = ReadModelConfig(Dir()).value();
  const Golden golden_ = ReadGolden(GetParam().model);
};

TEST_P(LayoutGoldenTest, Logits) {
  RankedModel model = Make(DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, Chunks()), golden_);
  RecordProperty("max_error", std::to_string(error.max));
  // A token's inputs that are quantised where they lie in parts have a scale for each part: other integers.
  const bool other_integers = config_.weight_types != nullptr && GetParam().layout.layout.tp > 1 &&
                              !GetParam().model.ends_with("static");
  if (other_integers) {
    EXPECT_LE(error.median, 3.0 * golden_.bf16.median);
    EXPECT_LE(error.rms, 3.0 * golden_.bf16.rms);
  } else {
    EXPECT_LE(error.max, kF32Tolerance);
  }
}

TEST_P(LayoutGoldenTest, GreedyTokens) {
  RankedModel model = Make(DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.prompt);
  const auto length = static_cast<int32_t>(golden_.prompt.size());
  model.Run({{&sequence, length / 2}}, {0});
  std::vector<int32_t> answer = {
      Argmax(model.Run({{&sequence, length - length / 2}}, {length - length / 2 - 1}).back())};
  while (answer.size() < golden_.answer.size()) {
    model.Append(sequence, answer.back());
    answer.push_back(Argmax(model.Run({{&sequence, 1}}, {0}).back()));
  }
  EXPECT_EQ(answer, golden_.answer);
}

TEST_P(LayoutGoldenTest, LogitsInBf16) {
  RankedModel model = Make(DType::kBF16);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, Chunks()), golden_);
  RecordProperty("median_error", std::to_string(error.median));
  EXPECT_LE(error.median, 3.0 * golden_.bf16.median);
  EXPECT_LE(error.rms, 4.0 * golden_.bf16.rms);
}

// Several positions share a word of such a cache: ranks must store them in order.
TEST_P(LayoutGoldenTest, LogitsWithKeysAndValuesInBytes) {
  RankedModel model = Make(DType::kBF16, DType::kI8);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, Chunks()), golden_);
  EXPECT_LE(error.median, 6.0 * golden_.bf16.median);
  EXPECT_LE(error.rms, 8.0 * golden_.bf16.rms);
}

std::vector<Case> Cases() {
  const std::vector<std::string> models = {"tiny-llama",
                                           "tiny-llama-bias",
                                           "tiny-qwen3",
                                           "tiny-qwen3-moe",
                                           "tiny-deepseek-v3",
                                           "tiny-deepseek-v3-fp8",
                                           "tiny-qwen3-compressed-tensors",
                                           "tiny-qwen3-moe-w8a8-dynamic",
                                           "tiny-qwen3-moe-w8a8-static",
                                           "tiny-deepseek-v3-w8a8-dynamic",
                                           "tiny-deepseek-v3-w8a8-static"};
  const std::vector<Layout> layouts = {{{.tp = 2}},          {{.tp = 2}, true},          {{.pp = 2}},
                                       {{.pp = 2, .tp = 2}}, {{.pp = 2, .tp = 2}, true}, {{.pcp = 2}},
                                       {{.pp = 2, .pcp = 2}}};
  const std::vector<Layout> spread = {{{.tp = 2, .expert_parallel = true}},
                                      {{.tp = 2, .expert_parallel = true}, true},
                                      {{.pcp = 2, .expert_parallel = true}}};
  std::vector<Case> cases;
  for (const std::string& model : models) {
    for (const Layout& layout : layouts) cases.push_back({model, layout});
    if (model.find("moe") == model.npos && model.find("deepseek") == model.npos) continue;
    for (const Layout& layout : spread) cases.push_back({model, layout});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, LayoutGoldenTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace penstock
