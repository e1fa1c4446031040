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

// Differences of logits at the golden positions.
struct Error {
  double max = 0;
  double rms = 0;
  double median = 0;  // over the positions, of the largest at each
};

double Median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

struct Golden {
  std::vector<int32_t> prompt;
  std::vector<int32_t> answer;
  std::vector<int32_t> positions;          // of prompt and answer together
  std::vector<std::vector<float>> logits;  // at `positions`
  Error bf16;                              // of transformers itself

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
  const Json& bf16 = json["bf16_reference_error"];
  golden.bf16.max = bf16["max"].get<double>();
  golden.bf16.rms = bf16["rms_at_positions"].get<double>();
  golden.bf16.median = Median(bf16["max_at_positions"].get<std::vector<double>>());
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

Error Compare(const std::vector<std::vector<float>>& rows, const Golden& golden) {
  std::vector<double> largest;  // at each position
  double square_sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < golden.positions.size(); ++i) {
    const std::vector<float>& row = rows.at(golden.positions[i]);
    largest.push_back(testing::MaxDifference({row}, {golden.logits[i]}));
    for (size_t j = 0; j < row.size(); ++j) {
      square_sum += std::pow(static_cast<double>(row[j]) - golden.logits[i][j], 2);
    }
    count += row.size();
  }
  return {std::ranges::max(largest), std::sqrt(square_sum / static_cast<double>(count)), Median(largest)};
}

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
