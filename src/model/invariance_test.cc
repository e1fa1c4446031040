// Chunking invariance: however a sequence is cut into chunks, the layers into stages, and whatever shares its
// steps, the logits are the same. And the tolerance is tight enough to catch one wrong position or block.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

using testing::MaxDifference;
using testing::StagedModel;
using testing::TempDir;
using testing::TestSequence;

constexpr int32_t kNumTokens = 70;   // four blocks and a bit
constexpr float kTolerance = 1e-4f;  // fp32; the logits' standard deviation is near 1

const ModelOptions kOptions = {.dtype = DType::kF32,
                               .block_size = 16,
                               .max_batched_tokens = 128,
                               .max_model_len = 160,
                               .max_logit_rows = 128};

std::vector<int32_t> Tokens(int32_t count, int32_t seed = 1) {
  std::vector<int32_t> tokens(count);
  for (int32_t i = 0; i < count; ++i) tokens[i] = (i * 31 + seed * 17 + i * i * 7) % 97;
  return tokens;
}

struct Case {
  std::string family;
  std::string kernels;
};

void PrintTo(const Case& test, std::ostream* out) { *out << test.family << " on " << test.kernels; }

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string& kernels : testing::KernelNames()) {
    for (const std::string& family : testing::Families()) cases.push_back({family, kernels});
  }
  return cases;
}

class InvarianceTest : public ::testing::TestWithParam<Case> {
 protected:
  InvarianceTest() : config_(testing::WriteTinyModel(dir_, testing::TinyConfig(GetParam().family))) {}

  StagedModel Make(int num_stages = 1) {
    return StagedModel(dir_.path(), config_, num_stages, kOptions, *kernels_.kernels);
  }

  std::vector<std::vector<float>> Whole() {
    StagedModel model = Make();
    TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
    return model.RunChunks(sequence, {kNumTokens});
  }

  TempDir dir_;
  const ModelConfig config_;
  testing::TestKernels kernels_{GetParam().kernels};
};

TEST_P(InvarianceTest, AnySplitIntoChunksAndStages) {
  struct {
    int num_stages;
    std::vector<int32_t> lens;
  } const splits[] = {
      {1, std::vector<int32_t>(kNumTokens, 1)},
      {1, {16, 32, 16, 6}},  // whole blocks
      {1, {40, 20, 9, 1}},
      {2, {3, 13, 1, 29, 7, 17}},
      {2, {kNumTokens}},
      {4, {1, 1, 31, 32, 5}},
      {4, {48, 22}},
  };
  const auto expected = Whole();
  for (const auto& [num_stages, lens] : splits) {
    StagedModel model = Make(num_stages);
    TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
    EXPECT_LE(MaxDifference(model.RunChunks(sequence, lens), expected), kTolerance)
        << num_stages << " stages, chunks of " << lens.front() << ", …";
  }
}

TEST_P(InvarianceTest, OtherSequencesInTheStepDoNotMatter) {
  const auto expected = Whole();
  StagedModel model = Make(2);
  TestSequence other = model.NewSequence(Tokens(50, 5));
  TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
  TestSequence third = model.NewSequence(Tokens(40, 9));
  model.Run({{&other, 33}});
  std::vector<std::vector<float>> rows;
  for (const int32_t len : {22, 31, 17}) {
    // a decoding sequence before, a chunk of a third one after
    auto step = model.Run({{&other, 1}, {&sequence, len}, {&third, 5}});
    rows.insert(rows.end(), step.begin() + 1, step.begin() + 1 + len);
  }
  EXPECT_LE(MaxDifference(rows, expected), kTolerance);
}

TEST_P(InvarianceTest, OnlyTheWantedRowsAreComputedInTheLastLayer) {
  const auto expected = Whole();
  StagedModel model = Make(2);
  TestSequence other = model.NewSequence(Tokens(50, 5));
  TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
  model.Run({{&other, 33}}, std::span<const int32_t>{});
  model.Run({{&sequence, 20}}, std::span<const int32_t>{});  // nothing but its keys and values
  const std::vector<int32_t> wanted = {0, 40, 40};           // one of each sequence, one of them twice
  auto rows = model.Run({{&other, 1}, {&sequence, 40}}, wanted);
  EXPECT_LE(MaxDifference({rows[40]}, {expected[59]}), kTolerance);
  EXPECT_GT(MaxDifference({rows[39]}, {expected[58]}), 100 * kTolerance) << "computed, and for nobody";
  const std::vector<int32_t> many = {0, 1, 3, 5, 7, 9};  // too many to be worth it: all are computed
  rows = model.Run({{&sequence, 10}}, many);
  for (const int32_t row : many) EXPECT_LE(MaxDifference({rows[row]}, {expected[60 + row]}), kTolerance);
}

TEST_P(InvarianceTest, TheToleranceCatchesAWrongPosition) {
  const auto expected = Whole();
  StagedModel model = Make();
  TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
  auto rows = model.Run({{&sequence, 32}});
  for (auto& row : model.Run({{.sequence = &sequence, .len = kNumTokens - 32, .position_shift = 1}})) {
    rows.push_back(std::move(row));
  }
  EXPECT_GT(MaxDifference(rows, expected), 100 * kTolerance);
}

TEST_P(InvarianceTest, TheToleranceCatchesALostBlock) {
  const auto expected = Whole();
  StagedModel model = Make();
  TestSequence sequence = model.NewSequence(Tokens(kNumTokens));
  auto rows = model.Run({{&sequence, 48}});
  sequence.block_ids[1] = sequence.block_ids[0];
  for (auto& row : model.Run({{&sequence, kNumTokens - 48}})) rows.push_back(std::move(row));
  EXPECT_GT(MaxDifference(rows, expected), 100 * kTolerance);
}

INSTANTIATE_TEST_SUITE_P(All, InvarianceTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.family + "_" + info.param.kernels; });

}  // namespace
}  // namespace penstock
