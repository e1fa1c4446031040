// Logits and greedy tokens of every architecture against Hugging Face transformers (tests/golden/README.md).
//
// The checkpoints are made by tools/make_test_models.py, which ctest runs before this.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

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

constexpr float kF32Tolerance = 3e-4f;  // the logits' standard deviation is near 3

struct Case {
  std::string model;
  std::string golden;  // the name of its data, which may be another model's
  std::string kernels;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.model << " on " << test.kernels; }

class GoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(std::filesystem::exists(Dir()))
        << Dir() << " is missing: run ctest, or python3 tools/make_test_models.py " << kModelsDir;
    const auto config = ReadModelConfig(Dir());
    ASSERT_TRUE(config.ok()) << config.status().message();
    config_ = *config;
    golden_ = ReadGolden(GetParam().golden);
  }

  std::string Dir() const { return kModelsDir + "/" + GetParam().model; }

  StagedModel Make(int num_stages, DType dtype, std::optional<DType> kv_dtype = std::nullopt) {
    return StagedModel(Dir(), config_, num_stages,
                       {.dtype = dtype,
                        .block_size = 16,
                        .max_batched_tokens = 512,
                        .max_model_len = 512,
                        .max_logit_rows = 512,
                        .kv_dtype = kv_dtype},
                       *kernels_.kernels);
  }

  ModelConfig config_;
  Golden golden_;
  testing::TestKernels kernels_{GetParam().kernels};
};

TEST_P(GoldenTest, LogitsInFp32) {
  StagedModel model = Make(2, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const auto rows = model.RunChunks(sequence, {100, 1, 99, 64});
  const Error error = Compare(rows, golden_);
  EXPECT_LE(error.max, kF32Tolerance);
  RecordProperty("max_error", std::to_string(error.max));
}

class GoldenRunTest : public GoldenTest {};

TEST_P(GoldenRunTest, GreedyTokensInFp32) {
  StagedModel model = Make(1, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.prompt);
  std::vector<int32_t> answer = {Argmax(model.RunChunks(sequence, {128, 72}).back())};
  while (answer.size() < golden_.answer.size()) {
    model.Append(sequence, answer.back());
    answer.push_back(Argmax(model.Run({{&sequence, 1}}).back()));
  }
  EXPECT_EQ(answer, golden_.answer);
}

// bf16 is as near to fp32 as transformers' own bf16 is. Where experts are chosen, a near tie may fall the
// other way for a token or two, which moves the mean but not the median.
TEST_P(GoldenRunTest, LogitsInBf16) {
  StagedModel model = Make(1, DType::kBF16);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, {200, 64}), golden_);
  EXPECT_LE(error.median, 1.5 * golden_.bf16.median);
  EXPECT_LE(error.rms, (config_.num_experts > 0 ? 3.0 : 1.5) * golden_.bf16.rms);
  RecordProperty("median_error", std::to_string(error.median));
  RecordProperty("rms_error", std::to_string(error.rms));
}

// Keys and values in bytes: further from fp32 than bf16 is, by no more than this, and in about half the
// memory.
TEST_P(GoldenRunTest, LogitsWithKeysAndValuesInBytes) {
  StagedModel model = Make(2, DType::kBF16, DType::kI8);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, {100, 1, 99, 64}), golden_);
  EXPECT_LE(error.median, 4 * golden_.bf16.median);
  EXPECT_LE(error.rms, (config_.num_experts > 0 ? 6.0 : 4.0) * golden_.bf16.rms);
  RecordProperty("median_error", std::to_string(error.median));
  RecordProperty("rms_error", std::to_string(error.rms));
}

const std::vector<std::string> kFamilies = {"tiny-llama", "tiny-qwen3", "tiny-qwen3-moe", "tiny-deepseek-v3"};
const std::vector<std::string> kVariants = {"tiny-llama3-rope", "tiny-llama-bias", "tiny-qwen3-yarn",
                                            "tiny-qwen3-moe-mixed", "tiny-deepseek-v3-plain"};
const std::vector<std::string> kStoredForms = {"tiny-llama-f16", "tiny-llama-f32", "tiny-qwen3-sharded",
                                               "tiny-deepseek-v3-fp8"};

void AddCases(const std::vector<std::string>& models, const std::string& kernels, std::vector<Case>* cases) {
  for (const std::string& model : models) {
    cases->push_back({model, model == "tiny-qwen3-sharded" ? "tiny-qwen3" : model, kernels});
  }
}

std::vector<Case> AllCases() {
  std::vector<Case> cases;
  for (const std::string& kernels : testing::KernelNames()) {
    for (const auto& models : {kFamilies, kVariants, kStoredForms}) AddCases(models, kernels, &cases);
  }
  return cases;
}

// The reference kernels are too slow to run everything.
std::vector<Case> RunCases() {
  std::vector<Case> cases;
  for (const std::string& kernels : testing::KernelNames()) {
    AddCases(kFamilies, kernels, &cases);
    if (kernels != "ref") AddCases(kVariants, kernels, &cases);
  }
  return cases;
}

const auto kCaseName = [](const auto& info) {
  std::string name = info.param.model + "_" + info.param.kernels;
  std::ranges::replace(name, '-', '_');
  return name;
};

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, ::testing::ValuesIn(AllCases()), kCaseName);
INSTANTIATE_TEST_SUITE_P(All, GoldenRunTest, ::testing::ValuesIn(RunCases()), kCaseName);

}  // namespace
}  // namespace penstock
