// What the ranks of a stage send in a step is what docs/parallelism.md says, to the byte.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "base/checked_math.h"
#include "comm/collectives.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/ranked_model.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

using testing::RankedModel;
using testing::TempDir;
using testing::TestSequence;

constexpr int64_t kTokens = 100;
constexpr int64_t kWanted = 1;

struct Case {
  std::string family;
  ParallelLayout layout;
  bool sequence_parallel = false;
  DType dtype = DType::kBF16;
  bool int8 = false;
};

std::string NameOf(const Case& test) {
  return test.family + "_" + LayoutName(test.layout) + (test.sequence_parallel ? "_sp" : "") +
         (test.int8 ? "_int8" : "") + (test.dtype == DType::kF32 ? "_f32" : "");
}

void PrintTo(const Case& test, std::ostream* out) { *out << NameOf(test); }

class VolumeTest : public ::testing::TestWithParam<Case> {};

// Of one stage of `layers` layers, all ranks together. See docs/parallelism.md for the names.
int64_t Formula(const ModelConfig& config, const Case& test, int64_t layers, bool first, bool last) {
  const int64_t t = test.layout.tp, c = test.layout.pcp, b = static_cast<int64_t>(DTypeBytes(test.dtype));
  const bool is_latent = config.kv_lora_rank > 0;
  const int64_t hidden = config.hidden_dim * b;
  int64_t sum = 0;
  if (t > 1) {
    const int64_t reduce = (t - 1) * kTokens * hidden, gather = reduce;
    const int64_t bytes = RoundUp<int64_t>(config.hidden_dim, 64) + 4;
    int64_t attention_row = test.int8 ? bytes : hidden;
    if (is_latent) attention_row = (config.q_lora_rank + config.kv_lora_rank + config.rope_dim) * b;
    const int64_t mlp_row = test.int8 ? bytes : hidden;
    const int64_t sequence = 2 * reduce + (t - 1) * kTokens * (attention_row + mlp_row);
    const int64_t plain = 2 * (reduce + gather);
    const bool is_sequence = test.sequence_parallel;
    if (first) sum += is_sequence ? reduce : reduce + gather;
    if (!first && !is_sequence) sum += gather;
    sum += (last ? layers - 1 : layers) * (is_sequence ? sequence : plain);
    if (last) {
      if (is_sequence) sum += 2 * gather;
      sum += 4 * (t - 1) * kWanted * hidden;  // of the last layer
      sum += 4 * kWanted * (config.vocab_size - RowCut(config.vocab_size, static_cast<int>(t), 1));
    }
  }
  if (c > 1) {
    const int64_t kv_heads = std::max<int64_t>(1, config.num_kv_heads / t);
    const int64_t row =
        (is_latent ? config.kv_lora_rank + config.rope_dim : 2 * kv_heads * config.head_dim) * b;
    sum += layers * t * (c - 1) * kTokens * row;
    if (last) sum += t * 2 * (c - 1) * kWanted * hidden;
  }
  return sum;
}

TEST_P(VolumeTest, IsThatOfTheFormula) {
  const Case& test = GetParam();
  const TempDir dir;
  Json json = testing::TinyConfig(test.family);
  json["mlp_only_layers"] = {0, 1, 2, 3};  // experts are measured beside their exchange
  json["first_k_dense_replace"] = 4;
  testing::WriteTinyModel(dir, json);
  const ModelConfig config = ReadModelConfig(dir.path(), test.int8 ? "w8a8-dynamic" : "").value();
  const ModelOptions options = {.dtype = test.dtype,
                                .block_size = 16,
                                .max_batched_tokens = 128,
                                .max_model_len = 160,
                                .max_logit_rows = 4};
  RankedModel model(dir.path(), config, test.layout, options, std::string(UsableCpuIsas().front()),
                    test.sequence_parallel);
  std::vector<int32_t> tokens(kTokens);
  for (int32_t i = 0; i < kTokens; ++i) tokens[i] = i % 97;
  TestSequence sequence = model.NewSequence(tokens);
  model.Run({{&sequence, kTokens}}, {kTokens - 1});
  for (int stage = 0; stage < test.layout.pp; ++stage) {
    const int64_t layers = config.num_layers / test.layout.pp;
    EXPECT_EQ(static_cast<int64_t>(model.SentBytes(stage)),
              Formula(config, test, layers, stage == 0, stage + 1 == test.layout.pp))
        << "stage " << stage;
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string& family : testing::Families()) {
    for (const ParallelLayout& layout : {ParallelLayout{.tp = 2}, {.tp = 4}, {.pp = 2, .tp = 2}}) {
      cases.push_back({family, layout});
      cases.push_back({family, layout, true});
      cases.push_back({family, layout, true, DType::kBF16, true});
    }
    cases.push_back({family, {.pcp = 2}});
    cases.push_back({family, {.pp = 2, .pcp = 2}, false, DType::kF32});
    cases.push_back({family, {.pcp = 2, .tp = 2}});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, VolumeTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return NameOf(info.param); });

}  // namespace
}  // namespace penstock
