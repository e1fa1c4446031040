// Logits and greedy tokens of every architecture against Hugging Face transformers (tests/golden/README.md).
//
// The checkpoints are made by tools/make_test_models.py, which ctest runs before this.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <numeric>

#include "base/json.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"

namespace penstock {
namespace {

using testing::Argmax;
using testing::StagedModel;
using testing::TestSequence;

const std::string kModelsDir = PENSTOCK_TEST_MODELS_DIR;
const std::string kGoldenDir = PENSTOCK_SOURCE_DIR "/tests/golden";

constexpr float kF32Tolerance = 3e-4f;  // the logits' standard deviation is near 3

struct Golden {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;
  std::vector<int32_t> positions;          // of prompt and answer together
  std::vector<std::vector<float>> logits;  // at `positions`
  double bf16_max_error = 0;               // of transformers itself
  double bf16_rms_error = 0;

  std::vector<int32_t> Tokens() const {
    std::vector<int32_t> tokens = prompt;
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    return tokens;
  }
};

Golden ReadGolden(const std::string& name) {
  const Json json = ReadJsonFile(kGoldenDir + "/" + name + ".json").value();
  Golden golden;
  golden.prompt = json["prompt_ids"].get<std::vector<int32_t>>();
  golden.answer = json["greedy_ids"].get<std::vector<int32_t>>();
  golden.positions = json["positions"].get<std::vector<int32_t>>();
  golden.bf16_max_error = json["bf16_reference_error"]["max"].get<double>();
  golden.bf16_rms_error = json["bf16_reference_error"]["rms"].get<double>();
  const size_t vocab_size = json["vocab_size"].get<size_t>();
  const std::string bytes = ReadTextFile(kGoldenDir + "/" + json["logits_file"].get<std::string>()).value();
  CHECK_EQ(bytes.size(), golden.positions.size() * vocab_size * sizeof(float)) << name;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    golden.logits.emplace_back(vocab_size);
    std::memcpy(golden.logits.back().data(), bytes.data() + i * vocab_size * sizeof(float),
                vocab_size * sizeof(float));
  }
  return golden;
}

// Of the rows at the golden positions.
struct Error {
  double max = 0;
  double rms = 0;
};

Error Compare(const std::vector<std::vector<float>>& rows, const Golden& golden) {
  Error error;
  double square_sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    const std::vector<float>& row = rows.at(golden.positions[i]);
    for (size_t j = 0; j < row.size(); ++j) {
      const double difference = std::fabs(static_cast<double>(row[j]) - golden.logits[i][j]);
      if (!(difference <= error.max)) error.max = difference;  // NaN too
      square_sum += difference * difference;
      ++count;
    }
  }
  error.rms = std::sqrt(square_sum / static_cast<double>(count));
  return error;
}

struct Case {
  std::string model;
  std::string golden;  // the name of its data, which may be another model's
  std::string kernels;
};

std::vector<Case> ForAllKernels(const std::vector<std::string>& models) {
  std::vector<Case> cases;
  for (const std::string& kernels : testing::KernelNames()) {
    for (const std::string& model : models) {
      cases.push_back({model, model == "tiny-qwen3-sharded" ? "tiny-qwen3" : model, kernels});
    }
  }
  return cases;
}

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

  StagedModel Make(int num_stages, DType dtype) {
    return StagedModel(Dir(), config_, num_stages,
                       {.dtype = dtype,
                        .block_size = 16,
                        .max_batched_tokens = 512,
                        .max_model_len = 512,
                        .max_logit_rows = 512},
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

TEST_P(GoldenTest, GreedyTokensInFp32) {
  StagedModel model = Make(1, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.prompt);
  std::vector<int32_t> answer = {Argmax(model.RunChunks(sequence, {128, 72}).back())};
  while (answer.size() < golden_.answer.size()) {
    model.Append(sequence, answer.back());
    answer.push_back(Argmax(model.Run({{&sequence, 1}}).back()));
  }
  EXPECT_EQ(answer, golden_.answer);
}

// bf16 is as near to fp32 as transformers' own bf16 is.
TEST_P(GoldenTest, LogitsInBf16) {
  StagedModel model = Make(1, DType::kBF16);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  const Error error = Compare(model.RunChunks(sequence, {200, 64}), golden_);
  EXPECT_LE(error.rms, 1.5 * golden_.bf16_rms_error);
  EXPECT_LE(error.max, 2.0 * golden_.bf16_max_error);
  RecordProperty("max_error", std::to_string(error.max));
  RecordProperty("rms_error", std::to_string(error.rms));
}

const auto kCaseName = [](const auto& info) {
  std::string name = info.param.model + "_" + info.param.kernels;
  std::ranges::replace(name, '-', '_');
  return name;
};

INSTANTIATE_TEST_SUITE_P(
    Models, GoldenTest,
    ::testing::ValuesIn(ForAllKernels({"tiny-llama", "tiny-llama3-rope", "tiny-llama-bias", "tiny-qwen3",
                                       "tiny-qwen3-yarn", "tiny-qwen3-moe", "tiny-qwen3-moe-mixed",
                                       "tiny-deepseek-v3", "tiny-deepseek-v3-plain"})),
    kCaseName);

// The same models in other types and files: only what is read differs.
class StoredFormTest : public GoldenTest {};

TEST_P(StoredFormTest, LogitsInFp32) {
  StagedModel model = Make(1, DType::kF32);
  TestSequence sequence = model.NewSequence(golden_.Tokens());
  EXPECT_LE(Compare(model.RunChunks(sequence, {264}), golden_).max, kF32Tolerance);
}

INSTANTIATE_TEST_SUITE_P(Models, StoredFormTest,
                         ::testing::ValuesIn(ForAllKernels({"tiny-llama-f16", "tiny-llama-f32",
                                                            "tiny-qwen3-sharded", "tiny-deepseek-v3-fp8"})),
                         kCaseName);

}  // namespace
}  // namespace penstock
