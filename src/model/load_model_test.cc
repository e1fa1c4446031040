// What is read from a checkpoint, what is said where it is wrong, and what it takes in memory.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "comm/inproc/inproc_group.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

using testing::MaxDifference;
using testing::SafetensorsBuilder;
using testing::StagedModel;
using testing::TempDir;
using testing::TestSequence;

const ModelOptions kOptions = {.dtype = DType::kF32,
                               .block_size = 16,
                               .max_batched_tokens = 32,
                               .max_model_len = 64,
                               .max_logit_rows = 32};
const std::vector<int32_t> kTokens = {5, 17, 3, 90, 41, 8, 22, 64, 1, 33};

LayerRange Whole(const ModelConfig& config) { return {0, config.num_layers, true, true}; }

class LoadModelTest : public ::testing::Test {
 protected:
  ModelConfig WriteConfig(const Json& config) {
    dir_.Write("config.json", config.dump());
    return ReadModelConfig(dir_.path()).value();
  }

  void ExpectError(const ModelConfig& config, const SafetensorsBuilder& tensors, StatusCode code,
                   const std::string& part) {
    dir_.Write("model.safetensors", tensors.Text());
    const auto model = LoadModel(dir_.path(), config, Whole(config), kOptions, *kernels_);
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), code) << model.status().message();
    EXPECT_NE(model.status().message().find(part), std::string::npos) << model.status().message();
  }

  std::vector<std::vector<float>> Logits(const ModelConfig& config, int num_stages = 1) {
    StagedModel model(dir_.path(), config, num_stages, kOptions, *kernels_);
    TestSequence sequence = model.NewSequence(kTokens);
    return model.RunChunks(sequence, {static_cast<int32_t>(kTokens.size())});
  }

  TempDir dir_;
  std::unique_ptr<Kernels> kernels_ = MakeRefKernels();
};

TEST_F(LoadModelTest, EveryTensorThatIsMissingIsNamed) {
  for (const std::string& family : testing::Families()) {
    const ModelConfig config = WriteConfig(testing::TinyConfig(family));
    const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
    for (const TensorSpec& missing : table.specs()) {
      const bool is_alike = missing.layer > 1 || (missing.name.find("experts.") != missing.name.npos &&
                                                  missing.name.find("experts.7.") == missing.name.npos);
      if (is_alike || missing.optional || (missing.name == "lm_head.weight" && config.tie_word_embeddings))
        continue;
      SCOPED_TRACE(missing.name);
      const auto tensors = testing::RandomTensors(
          config, false, [&](const TensorSpec& spec) { return spec.name != missing.name; });
      ExpectError(config, tensors, StatusCode::kNotFound, "tensor " + missing.name + " is missing");
    }
  }
}

TEST_F(LoadModelTest, AWrongShapeIsNamedWithBothShapes) {
  const ModelConfig config = WriteConfig(testing::TinyConfig("qwen3"));
  const std::string name = "model.layers.2.self_attn.k_proj.weight";
  auto tensors =
      testing::RandomTensors(config, false, [&](const TensorSpec& spec) { return spec.name != name; });
  tensors.AddF32(name, {64, 32}, std::vector<float>(64 * 32));
  ExpectError(config, tensors, StatusCode::kInvalidArgument,
              "model.safetensors: tensor " + name + ": shape [64,32], expected [64,64]");
}

TEST_F(LoadModelTest, AWrongTypeIsNamed) {
  const ModelConfig config = WriteConfig(testing::TinyConfig("qwen3"));
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  auto tensors =
      testing::RandomTensors(config, false, [&](const TensorSpec& spec) { return spec.name != name; });
  tensors.Add(name, "I8", {96, 64}, std::string(96 * 64, '\x01'));
  ExpectError(config, tensors, StatusCode::kUnimplemented, "tensor " + name + ": dtype I8");
}

TEST_F(LoadModelTest, AStageReadsOnlyItsOwnTensors) {
  const ModelConfig config = WriteConfig(testing::TinyConfig("deepseek_v3"));
  const auto tensors = testing::RandomTensors(
      config, false, [](const TensorSpec& spec) { return spec.layer == 1 || spec.layer == 2; });
  dir_.Write("model.safetensors", tensors.Text());
  const LayerRange middle{1, 3, false, false};
  const auto model = LoadModel(dir_.path(), config, middle, kOptions, *kernels_);
  ASSERT_TRUE(model.ok()) << model.status().message();
  EXPECT_EQ((*model)->range().first_layer, 1);
  EXPECT_FALSE(LoadModel(dir_.path(), config, Whole(config), kOptions, *kernels_).ok());
}

TEST_F(LoadModelTest, ATiedHeadIsTheEmbeddingOnEveryStageButForAHeadOfItsOwn) {
  const Json tied = testing::TinyConfig("llama");
  const ModelConfig config = testing::WriteTinyModel(dir_, tied);
  const auto expected = Logits(config);
  EXPECT_LE(MaxDifference(Logits(config, 2), expected), 1e-5f);

  // A head in the files goes before the embedding.
  auto tensors = testing::RandomTensors(config);
  tensors.AddF32("lm_head.weight", {97, 64}, std::vector<float>(97 * 64, 0.0f));
  dir_.Write("model.safetensors", tensors.Text());
  EXPECT_EQ(Logits(config).back(), std::vector<float>(97, 0.0f));
}

TEST_F(LoadModelTest, TensorsThatAreNotOursAreLeftAlone) {
  const ModelConfig config = testing::WriteTinyModel(dir_, testing::TinyConfig("deepseek_v3"));
  const auto expected = Logits(config);
  auto tensors = testing::RandomTensors(config);
  const std::vector<float> two = {1, 2};
  tensors.AddF32("model.layers.4.eh_proj.weight", {2}, two);  // the multi-token prediction layer
  tensors.AddF32("model.layers.4.mlp.gate.weight", {2}, two);
  tensors.AddF32("model.layers.0.self_attn.rotary_emb.inv_freq", {2}, two);
  tensors.Add("something.else", "U8", {2}, "ab");
  dir_.Write("model.safetensors", tensors.Text());
  EXPECT_EQ(Logits(config), expected);
}

TEST_F(LoadModelTest, ProgressRisesToTheTotal) {
  for (const char* family : {"llama", "qwen3_moe"}) {
    const ModelConfig config = testing::WriteTinyModel(dir_, testing::TinyConfig(family));
    size_t last = 0, total = 0, calls = 0;
    const auto model =
        LoadModel(dir_.path(), config, Whole(config), kOptions, *kernels_, [&](size_t done, size_t all) {
          EXPECT_GT(done, last);
          last = done;
          total = all;
          ++calls;
        });
    ASSERT_TRUE(model.ok());
    EXPECT_EQ(last, total);
    EXPECT_GT(calls, 10u);
  }
}

// Of what it reads itself.
TEST_F(LoadModelTest, ProgressOfARankRisesToItsOwnTotal) {
  const ModelConfig config = testing::WriteTinyModel(dir_, testing::TinyConfig("qwen3_moe"));
  const auto total_bytes = [&](const RankShare& share) {
    const auto group = MakeInprocGroup(share.tp_size * share.ep_size);
    Communicator* const comm = group.back().get();
    LayerRange range = Whole(config);
    range.share = share;
    size_t last = 0, total = 0;
    const auto model = LoadModel(
        dir_.path(), config, range, kOptions, *kernels_,
        [&](size_t done, size_t all) {
          EXPECT_GE(done, last);
          last = done;
          total = all;
        },
        {}, {}, {.tp = share.tp_size > 1 ? comm : nullptr, .ep = share.ep_size > 1 ? comm : nullptr});
    EXPECT_TRUE(model.ok());
    EXPECT_EQ(last, total);
    return static_cast<double>(total);
  };
  const double whole = total_bytes({});
  const double cut = total_bytes({.tp_rank = 1, .tp_size = 2});
  EXPECT_GT(cut, whole / 2);
  EXPECT_LT(cut, whole * 0.6) << "router and norms are on every rank";
  EXPECT_LT(total_bytes({.ep_rank = 3, .ep_size = 4}), whole * 0.7);
}

// FP8 weights with their scales give the very logits of the bf16 weights that they stand for.
TEST_F(LoadModelTest, Fp8WeightsAreTheirValuesTimesTheirScales) {
  Json json = testing::TinyConfig("deepseek_v3");
  ModelConfig config = WriteConfig(json);
  SafetensorsBuilder fp8, plain;
  std::mt19937 random(3);
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  constexpr int64_t kBlock = 40;  // does not divide any of the sizes
  for (const TensorSpec& spec : table.specs()) {
    const std::vector<float> values = testing::RandomValues(spec, random);
    if (spec.shape.size() != 2 || spec.layer < 0 || spec.name.ends_with("mlp.gate.weight")) {
      fp8.AddF32(spec.name, spec.shape, values);
      plain.AddF32(spec.name, spec.shape, values);
      continue;
    }
    const int64_t rows = spec.shape[0], cols = spec.shape[1];
    const int64_t scale_rows = (rows + kBlock - 1) / kBlock, scale_cols = (cols + kBlock - 1) / kBlock;
    std::vector<float> scales(scale_rows * scale_cols), product(rows * cols);
    for (float& scale : scales) scale = 0.02f + static_cast<float>(random() % 100) * 1e-3f;
    std::string bytes(rows * cols, '\0');
    for (int64_t i = 0; i < rows * cols; ++i) {
      bytes[i] = static_cast<char>((random() % 0x50) | (random() & 0x80));
      product[i] = Fp8E4M3ToFloat(static_cast<uint8_t>(bytes[i])) *
                   scales[i / cols / kBlock * scale_cols + i % cols / kBlock];
    }
    fp8.Add(spec.name, "F8_E4M3", spec.shape, bytes);
    fp8.AddF32(spec.name + "_scale_inv", {scale_rows, scale_cols}, scales);
    plain.AddF32(spec.name, spec.shape, product);
  }
  dir_.Write("model.safetensors", plain.Text());
  const auto expected = Logits(config);
  json["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {kBlock, kBlock}}};
  config = WriteConfig(json);
  dir_.Write("model.safetensors", fp8.Text());
  const auto logits = Logits(config);
  EXPECT_EQ(logits, expected);
  EXPECT_TRUE(std::isfinite(logits.back()[0]));
}

TEST_F(LoadModelTest, TheEstimateIsWhatTheModelTakes) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = testing::WriteTinyModel(dir_, testing::TinyConfig(family));
    for (const LayerRange& range :
         {Whole(config), LayerRange{0, 2, true, false}, LayerRange{2, 4, false, true}}) {
      const ModelMemory estimate = EstimateModelMemory(config, range, kOptions, *kernels_).value();
      const ModelMemory taken = LoadModel(dir_.path(), config, range, kOptions, *kernels_).value()->memory();
      EXPECT_GE(estimate.weight_bytes, taken.weight_bytes);
      EXPECT_LE(estimate.weight_bytes,
                taken.weight_bytes * 2);  // tiles of 64 rows weigh much in so small a model
      EXPECT_EQ(estimate.kv_block_bytes, taken.kv_block_bytes);
      EXPECT_EQ(estimate.activation_bytes, taken.activation_bytes);
    }
  }
}

// The estimate needs no files: of the real sizes, weights and KV per token are known figures.
TEST(EstimateModelMemoryTest, OfRealSizes) {
  TempDir dir;
  dir.Write("config.json", R"({
    "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 14336,
    "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "vocab_size": 128256})");
  const ModelConfig config = ReadModelConfig(dir.path()).value();
  const auto kernels = MakeRefKernels();
  const ModelOptions options = {.dtype = DType::kBF16, .block_size = 64, .max_batched_tokens = 2048};
  const ModelMemory memory = EstimateModelMemory(config, {0, 32, true, true}, options, *kernels).value();
  EXPECT_NEAR(static_cast<double>(memory.weight_bytes), 2 * 8.03e9, 0.02e9);  // 8.03 B parameters
  EXPECT_EQ(memory.kv_block_bytes, size_t{64} * 32 * 2 * 8 * 128 * 2);        // 128 KiB a token
  const ModelMemory half = EstimateModelMemory(config, {0, 16, true, false}, options, *kernels).value();
  EXPECT_EQ(half.kv_block_bytes * 2, memory.kv_block_bytes);
}

TEST_F(LoadModelTest, TheWorkspaceIsOfTheRightSizeForTheLargestStep) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = testing::WriteTinyModel(dir_, testing::TinyConfig(family));
    StagedModel model(dir_.path(), config, 1, kOptions, *kernels_);
    std::vector<int32_t> tokens(kOptions.max_batched_tokens, 7);
    TestSequence sequence = model.NewSequence(tokens);
    model.RunChunks(sequence, {kOptions.max_batched_tokens});  // a CHECK failure if it were too small
  }
}

}  // namespace
}  // namespace penstock
