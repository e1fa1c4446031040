// Logits of W8A8 checkpoints against the mathematics of the format, in numpy
// (tests/golden/make_w8a8_golden.py).
//
// No number of these sequences is near a tie where it is rounded to 8 bits, so that fp32 gives the
// reference's integers, and its logits up to the rounding of fp32.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "model/testing/golden_data.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"

namespace penstock {
namespace {

using testing::Argmax;
using testing::Compare;
using testing::Error;
using testing::Golden;
using testing::ReadGolden;
using testing::StagedModel;
using testing::TestSequence;

const std::string kModelsDir = PENSTOCK_TEST_MODELS_DIR;
constexpr float kF32Tolerance = 1e-4f;

struct Case {
  std::string model;
  std::string kernels;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.model << " on " << test.kernels; }

class W8A8GoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  StagedModel Make(int num_stages, DType dtype) {
    const std::string dir = kModelsDir + "/" + GetParam().model;
    const ModelConfig config = ReadModelConfig(dir).value();
    CHECK(config.weight_types != nullptr) << dir;
    const ModelOptions options = {.dtype = dtype,
                                  .block_size = 16,
                                  .max_batched_tokens = 32,
                                  .max_model_len = 64,
                                  .max_logit_rows = 32};
    return StagedModel(dir, config, num_stages, options, *kernels_.kernels);
  }

  const Golden golden_ = ReadGolden(GetParam().model);
  testing::TestKernels kernels_{GetParam().kernels};
};

TEST_P(W8A8GoldenTest, LogitsInFp32) {
  StagedModel model = Make(2, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, {9, 1, 6}), golden_);
  EXPECT_LE(error.max, kF32Tolerance);
  RecordProperty("max_error", std::to_string(error.max));
}

TEST_P(W8A8GoldenTest, GreedyTokensInFp32) {
  StagedModel model = Make(1, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.prompt);
  std::vector<int32_t> answer = {Argmax(model.RunChunks(sequence, {7, 5}).back())};
  while (answer.size() < golden_.answer.size()) {
    model.Append(sequence, answer.back());
    answer.push_back(Argmax(model.Run({{&sequence, 1}}).back()));
  }
  EXPECT_EQ(answer, golden_.answer);
}

// bf16 activations fall to other integers here and there: as far off as the reference is when it rounds to
// bf16.
TEST_P(W8A8GoldenTest, LogitsInBf16) {
  StagedModel model = Make(1, DType::kBF16);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, {16}), golden_);
  EXPECT_LE(error.median, 3.0 * golden_.bf16.median);
  EXPECT_LE(error.rms, 3.0 * golden_.bf16.rms);
  RecordProperty("median_error", std::to_string(error.median));
  RecordProperty("rms_error", std::to_string(error.rms));
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const std::string& kernels : testing::KernelNames()) {
    for (const char* model :
         {"tiny-qwen3-moe-w8a8-static", "tiny-qwen3-moe-w8a8-dynamic", "tiny-qwen3-moe-w8a8",
          "tiny-qwen3-compressed-tensors", "tiny-deepseek-v3-w8a8-static", "tiny-deepseek-v3-w8a8-dynamic",
          "tiny-deepseek-v3-w8a8"}) {
      cases.push_back({model, kernels});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, W8A8GoldenTest, ::testing::ValuesIn(AllCases()), [](const auto& info) {
  std::string name = info.param.model + "_" + info.param.kernels;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace penstock
