// What is read from checkpoints with 8-bit weights, and what is said where they are wrong.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "model/loaded_weights.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_w8a8.h"
#include "weights/int8_matrix.h"

namespace penstock {
namespace {

using testing::F32Tensor;
using testing::MaxDifference;
using testing::StagedModel;
using testing::TempDir;
using testing::TestSequence;
using testing::Types;
using testing::W8A8Files;
using enum WeightType;

const ModelOptions kOptions = {.dtype = DType::kF32,
                               .block_size = 16,
                               .max_batched_tokens = 32,
                               .max_model_len = 64,
                               .max_logit_rows = 32};
const std::vector<int32_t> kTokens = {5, 17, 3, 90, 41, 8, 22, 64, 1, 33};
constexpr auto kBad = StatusCode::kInvalidArgument;
constexpr auto kNo = StatusCode::kUnimplemented;

using Logits = std::vector<std::vector<float>>;

double RelativeRms(const Logits& got, const Logits& want) {
  double error = 0, size = 0;
  for (size_t r = 0; r < want.size(); ++r) {
    for (size_t i = 0; i < want[r].size(); ++i) {
      error += std::pow(static_cast<double>(got[r][i]) - want[r][i], 2);
      size += std::pow(static_cast<double>(want[r][i]), 2);
    }
  }
  return std::sqrt(error / size);
}

class W8A8LoadTest : public ::testing::Test {
 protected:
  // config.json of a family, without a description beside it.
  ModelConfig WriteConfig(const std::string& family) {
    dir_.Write("config.json", testing::TinyConfig(family).dump());
    std::filesystem::remove(dir_.File(kAscendDescriptionFile));
    return ReadModelConfig(dir_.path()).value();
  }

  Logits Run(const std::string& quantization = "", int num_stages = 1) {
    const ModelConfig config = ReadModelConfig(dir_.path(), quantization).value();
    StagedModel model(dir_.path(), config, num_stages, kOptions, *kernels_);
    TestSequence sequence = model.NewSequence(kTokens);
    return model.RunChunks(sequence, {static_cast<int32_t>(kTokens.size())});
  }

  void ExpectError(const W8A8Files& files, StatusCode code, const std::string& part) {
    SCOPED_TRACE(part);
    files.Write(dir_);
    const ModelConfig config = ReadModelConfig(dir_.path()).value();
    const auto model =
        LoadModel(dir_.path(), config, {0, config.num_layers, true, true}, kOptions, *kernels_);
    ASSERT_FALSE(model.ok());
    EXPECT_EQ(model.status().code(), code) << model.status().message();
    EXPECT_NE(model.status().message().find(part), std::string::npos) << model.status().message();
  }

  TempDir dir_;
  std::unique_ptr<Kernels> kernels_ = MakeRefKernels();
};

// Dynamic weights give a model's logits up to the error of 8 bits, on any stages; mixed ones are dynamic.
TEST_F(W8A8LoadTest, DynamicWeightsGiveAboutTheFloatLogits) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const double bound = family == "deepseek_v3" ? 0.2 : 0.06;  // a choice of experts or two is another
    ModelConfig config = WriteConfig(family);
    testing::TinyW8A8(config, Types(kFloat, kFloat)).Write(dir_);
    const Logits expected = Run();
    testing::TinyW8A8(config, Types(kW8A8Dynamic, kW8A8Dynamic)).Write(dir_);
    const Logits dynamic = Run();
    EXPECT_LT(RelativeRms(dynamic, expected), bound);
    EXPECT_GT(RelativeRms(dynamic, expected), 1e-4);
    EXPECT_EQ(Run("", 2), dynamic);
    testing::TinyW8A8(config, Types(kW8A8Mix, kW8A8Mix)).Write(dir_);
    EXPECT_EQ(Run("ascend"), dynamic);
  }
}

// Float weights that are quantised when they are loaded are those of a checkpoint that was quantised before.
TEST_F(W8A8LoadTest, QuantisedAtLoadIsQuantisedBefore) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = WriteConfig(family);
    testing::TinyW8A8(config, Types(kW8A8Dynamic, kW8A8Dynamic)).Write(dir_);
    const Logits expected = Run();
    WriteConfig(family);
    dir_.Write("model.safetensors", testing::RandomTensors(config).Text());
    EXPECT_EQ(Run("w8a8-dynamic"), expected);
    EXPECT_NE(Run(), expected);
  }
}

// Block FP8 weights too: they give what the floats that they stand for give.
TEST_F(W8A8LoadTest, BlockFp8IsQuantisedAtLoad) {
  const ModelConfig config = WriteConfig("deepseek_v3");
  constexpr int64_t kBlock = 40;
  std::mt19937 random(7);
  W8A8Files fp8, plain;
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  for (const TensorSpec& spec : table.specs()) {
    if (spec.optional) continue;
    std::vector<float> values = testing::RandomValues(spec, random);
    if (spec.projection != Projection::kNone) {
      const int64_t rows = spec.shape[0], cols = spec.shape[1], scale_cols = (cols + kBlock - 1) / kBlock;
      std::vector<float> scales(((rows + kBlock - 1) / kBlock) * scale_cols);
      for (float& scale : scales) scale = 0.01f + static_cast<float>(random() % 100) * 1e-4f;
      std::string bytes(rows * cols, '\0');
      for (int64_t i = 0; i < rows * cols; ++i) {
        bytes[i] = static_cast<char>((random() % 0x50) | (random() & 0x80));
        values[i] = Fp8E4M3ToFloat(static_cast<uint8_t>(bytes[i])) *
                    scales[i / cols / kBlock * scale_cols + i % cols / kBlock];
      }
      fp8.tensors[spec.name] = {"F8_E4M3", spec.shape, bytes};
      fp8.tensors[spec.name + "_scale_inv"] =
          F32Tensor({static_cast<int64_t>(scales.size()) / scale_cols, scale_cols}, scales);
    } else {
      fp8.tensors[spec.name] = F32Tensor(spec.shape, values);
    }
    plain.tensors[spec.name] = F32Tensor(spec.shape, values);
  }
  plain.Write(dir_);
  const Logits expected = Run("w8a8-dynamic");
  Json json = testing::TinyConfig("deepseek_v3");
  json["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {kBlock, kBlock}}};
  dir_.Write("config.json", json.dump());
  fp8.Write(dir_);
  EXPECT_EQ(Run("w8a8-dynamic"), expected);
  EXPECT_NE(Run("fp8"), expected);
}

TEST_F(W8A8LoadTest, CompressedTensorsAreDynamicWeights) {
  const ModelConfig config = WriteConfig("deepseek_v3");
  W8A8Files files = testing::TinyW8A8(config, [](const TensorSpec& spec) {
    return spec.projection == Projection::kNone ? kFloat : kW8A8Dynamic;  // kv_b too
  });
  files.Write(dir_);
  const Logits expected = Run();
  std::filesystem::remove(dir_.File(kAscendDescriptionFile));
  Json json = testing::TinyConfig("deepseek_v3");
  const Json args = {{"num_bits", 8}, {"type", "int"}, {"symmetric", true}};
  Json weights = args, inputs = args;
  weights.update({{"strategy", "channel"}});
  inputs.update({{"strategy", "token"}, {"dynamic", true}});
  json["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                 {"format", "int-quantized"},
                                 {"config_groups", {{"group_0", {{"targets", {"Linear"}}}}}}};
  json["quantization_config"]["config_groups"]["group_0"].update(
      {{"weights", weights}, {"input_activations", inputs}});
  dir_.Write("config.json", json.dump());
  EXPECT_EQ(Run(), expected);
}

// The self-checks of the format, on a matrix as it is loaded: inputs that are integers give exact sums, zeros
// give nothing but the rounding of quant_bias, and static, dynamic and float weights give about the same.
TEST_F(W8A8LoadTest, AStaticMatrixPassesTheSelfChecks) {
  const ModelConfig config = WriteConfig("qwen3");
  const std::string name = "self_attn.o_proj.weight";
  constexpr int64_t kRows = 64, kCols = 128;
  const auto load = [&](WeightType type) {
    testing::TinyW8A8(config, Types(type, type)).Write(dir_);
    const ModelConfig read = ReadModelConfig(dir_.path()).value();
    const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
    const Checkpoint checkpoint = Checkpoint::Open(dir_.path()).value();
    const TensorReader reader(checkpoint);
    const LoadProgress no_progress;
    LoadedWeights weights(table, read, DType::kF32, reader, *kernels_, no_progress, 0);
    weights.EnterLayer(0);
    auto packed = weights.Matrix({name});
    CHECK(weights.status().ok()) << weights.status().message();
    return packed;
  };
  const auto apply = [&](const PackedMat& w, const std::vector<float>& x) {
    std::vector<float> y(kRows);
    kernels_->Linear(ConstMat(x.data(), DType::kF32, 1, kCols), w, Mat(y.data(), DType::kF32, 1, kRows));
    return y;
  };
  const auto fixed = load(kW8A8), dynamic = load(kW8A8Dynamic), plain = load(kFloat);

  const std::vector<float> zero = apply(*fixed, std::vector<float>(kCols));
  for (const float y : zero) EXPECT_EQ(y, 0.0f);  // no bias, and 3 * sum - 3 * sum

  const std::vector<float> seven = apply(*fixed, std::vector<float>(kCols, testing::InputScale(name) * 7));
  testing::TinyW8A8(config, Types(kW8A8, kW8A8)).Write(dir_);
  const Checkpoint checkpoint = Checkpoint::Open(dir_.path()).value();
  const auto stored =
      ReadInt8Matrix(TensorReader(checkpoint), "model.layers.0." + name, kW8A8, kRows, kCols).value();
  for (int64_t r = 0; r < kRows; ++r) {
    const auto* row = stored.weight.view().Row<int8_t>(r);
    EXPECT_EQ(seven[r], static_cast<float>(7 * std::accumulate(row, row + kCols, 0)) * stored.deq_scale[r]);
  }

  std::vector<float> x(kCols);
  std::mt19937 random(1);
  for (float& value : x) value = static_cast<float>(random() % 400) * 0.01f - 2;
  const Logits want = {apply(*plain, x)};
  EXPECT_LT(RelativeRms({apply(*fixed, x)}, want), 0.02);
  EXPECT_LT(RelativeRms({apply(*dynamic, x)}, want), 0.02);
}

TEST_F(W8A8LoadTest, ShardsThatDisagreeAreNamed) {
  struct Case {
    const char* family;
    const char* tensor;  // of another type than those that it is multiplied with
  };
  const Case cases[] = {{"qwen3", "model.layers.1.self_attn.k_proj.weight"},
                        {"qwen3", "model.layers.1.mlp.up_proj.weight"},
                        {"deepseek_v3", "model.layers.0.self_attn.kv_a_proj_with_mqa.weight"},
                        {"deepseek_v3", "model.layers.2.mlp.shared_experts.up_proj.weight"},
                        {"qwen3_moe", "model.layers.2.mlp.experts.5.down_proj.weight"}};
  for (const auto& [family, tensor] : cases) {
    const ModelConfig config = WriteConfig(family);
    W8A8Files files = testing::TinyW8A8(config, Types(kW8A8Dynamic, kW8A8Dynamic));
    files.description[tensor] = "FLOAT";
    ExpectError(files, kBad, "Detected some but not all shards of a fused layer are quantized");
    ExpectError(files, kBad, fmt::format("tensor {} is FLOAT", tensor));
    files.description[tensor] = "W8A8_MIX";
    ExpectError(files, kBad, "Not all shards of a fused layer are quantized with same quant type");
    ExpectError(files, kBad, fmt::format("tensor {} is W8A8_MIX", tensor));
  }
}

TEST_F(W8A8LoadTest, StaticShardsHaveOneInput) {
  const ModelConfig config = WriteConfig("deepseek_v3");
  const std::string module = "model.layers.1.self_attn.kv_a_proj_with_mqa.";
  W8A8Files files = testing::TinyW8A8(config, Types(kW8A8, kW8A8Dynamic));
  files.tensors[module + "input_offset"] = F32Tensor({1}, {4});
  ExpectError(files, kBad,
              "tensor " + module + "weight: input_scale 0.1, input_offset 4, expected 0.1 and 3");
  files = testing::TinyW8A8(config, Types(kW8A8, kW8A8Dynamic));
  files.tensors[module + "input_scale"] = F32Tensor({1}, {0.1002f});
  ExpectError(files, kBad, "tensor " + module + "weight: input_scale 0.1002");
}

TEST_F(W8A8LoadTest, WhatADescriptionCannotAskFor) {
  const ModelConfig config = WriteConfig("deepseek_v3");
  const auto dynamic = testing::TinyW8A8(config, Types(kW8A8Dynamic, kW8A8Dynamic));
  const auto with_type = [&](const std::string& name, const char* type) {
    W8A8Files files = dynamic;
    files.description[name] = type;
    return files;
  };
  const std::string q_b = "model.layers.1.self_attn.q_b_proj.weight";
  const std::string kv_b = "model.layers.1.self_attn.kv_b_proj.weight";
  ExpectError(with_type(q_b, "W4A4_DYNAMIC"), kNo,
              "tensor " + q_b + ": type W4A4_DYNAMIC, expected FLOAT, W8A8");
  ExpectError(with_type(kv_b, "W8A8"), kNo, "tensor " + kv_b + ": type W8A8, expected FLOAT");
  ExpectError(
      with_type(q_b, "W8A8"), StatusCode::kNotFound,
      q_b + " is W8A8: " + dir_.path() + ": tensor model.layers.1.self_attn.q_b_proj.input_scale is missing");
  ExpectError(with_type(q_b, "FLOAT"), kNo, "tensor " + q_b + ": dtype I8, expected F32, F16 or BF16");
  ExpectError(testing::TinyW8A8(config, Types(kW8A8, kW8A8)), kNo, "static experts are not supported");
  W8A8Files undescribed = dynamic;
  undescribed.description = {{"model_quant_type", "W8A8"}};
  ExpectError(undescribed, kNo, "dtype I8, expected F32, F16 or BF16");
}

TEST_F(W8A8LoadTest, WrongScalesAreNamed) {
  const ModelConfig config = WriteConfig("qwen3");
  const std::string stem = "model.layers.0.mlp.down_proj.";
  W8A8Files files = testing::TinyW8A8(config, Types(kW8A8Dynamic, kW8A8Dynamic));
  files.tensors[stem + "weight_scale"] = F32Tensor({63, 1}, std::vector<float>(63));
  ExpectError(files, kBad, "tensor " + stem + "weight_scale: shape [63,1], expected [64,1]");
  files.tensors[stem + "weight_scale"] =
      F32Tensor({64, 1}, std::vector<float>(64, std::numeric_limits<float>::quiet_NaN()));
  ExpectError(files, kBad, "tensor " + stem + "weight_scale: scale 0 is nan, expected a finite number");
  files.tensors.erase(stem + "weight_scale");
  ExpectError(files, StatusCode::kNotFound, "tensor " + stem + "weight_scale is missing");
}

// Sums of longer rows do not fit into 32 bits.
TEST_F(W8A8LoadTest, RowsThatAreTooLongAreNamed) {
  Json json = testing::TinyConfig("llama");
  json["num_hidden_layers"] = 1;
  json["intermediate_size"] = kMaxInt8K + 32;
  dir_.Write("config.json", json.dump());
  const ModelConfig config = ReadModelConfig(dir_.path(), "w8a8-dynamic").value();
  dir_.Write("model.safetensors", testing::RandomTensors(config).Text());
  const auto model = LoadModel(dir_.path(), config, {0, 1, true, true}, kOptions, *kernels_);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.status().message().find(
                "mlp.down_proj.weight: 8-bit rows of 65568 numbers, expected at most 65536"),
            std::string::npos)
      << model.status().message();
}

// A bias that the layer does not have would be left out in silence; one of a static layer is in quant_bias.
TEST_F(W8A8LoadTest, ABiasThatNobodyAddsIsAnError) {
  const ModelConfig config = WriteConfig("qwen3");
  const std::string bias = "model.layers.0.self_attn.o_proj.bias";
  for (const WeightType type : {kFloat, kW8A8Dynamic}) {
    W8A8Files files = testing::TinyW8A8(config, Types(type, type));
    files.tensors[bias] = F32Tensor({64}, std::vector<float>(64, 1.0f));
    ExpectError(files, kNo, "tensor " + bias + ": a bias, expected none");
  }
  W8A8Files files = testing::TinyW8A8(config, Types(kW8A8, kW8A8));
  files.Write(dir_);
  const Logits expected = Run();
  files.tensors[bias] = F32Tensor({64}, std::vector<float>(64, 1.0f));
  files.Write(dir_);
  EXPECT_EQ(Run(), expected);
}

// Of every norm: a bias moves the logits.
TEST_F(W8A8LoadTest, NormsAddTheBiasOfTheAntiOutlierMethod) {
  for (const char* family : {"qwen3", "deepseek_v3"}) {
    const ModelConfig config = WriteConfig(family);
    const W8A8Files plain = testing::TinyW8A8(config, Types(kFloat, kFloat));
    plain.Write(dir_);
    const Logits expected = Run();
    size_t num_norms = 0;
    const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
    for (const TensorSpec& spec : table.specs()) {
      if (!spec.optional || spec.layer > 0) continue;
      SCOPED_TRACE(spec.name);
      ++num_norms;
      W8A8Files files = plain;
      std::vector<float> bias(spec.shape[0], 0.0f);
      files.tensors[spec.name] = F32Tensor(spec.shape, bias);
      files.Write(dir_);
      EXPECT_EQ(Run(), expected);
      bias[3] = 0.5f;
      files.tensors[spec.name] = F32Tensor(spec.shape, bias);
      files.Write(dir_);
      EXPECT_GT(MaxDifference(Run(), expected), 1e-3f);
    }
    EXPECT_EQ(num_norms, 5u);  // two of the layer, two inside attention, the last one
  }
}

TEST_F(W8A8LoadTest, TheEstimateKnowsTheTypes) {
  const auto check = [&](const ModelConfig& config) {
    const LayerRange whole = {0, config.num_layers, true, true};
    const ModelMemory estimate = EstimateModelMemory(config, whole, kOptions, *kernels_).value();
    const ModelMemory taken = LoadModel(dir_.path(), config, whole, kOptions, *kernels_).value()->memory();
    EXPECT_GE(estimate.weight_bytes, taken.weight_bytes);
    EXPECT_LE(estimate.weight_bytes, taken.weight_bytes * 3);  // tiles weigh much in so small a model
    return estimate.weight_bytes;
  };
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = WriteConfig(family);
    dir_.Write("model.safetensors", testing::RandomTensors(config).Text());
    const size_t float_bytes = check(config);
    const size_t at_load = check(ReadModelConfig(dir_.path(), "w8a8-dynamic").value());
    testing::TinyW8A8(config, Types(kW8A8, kW8A8Dynamic)).Write(dir_);
    const size_t stored = check(ReadModelConfig(dir_.path()).value());
    EXPECT_LT(stored, float_bytes * 2 / 3);
    EXPECT_LT(at_load, float_bytes * 2 / 3);
  }
  // An error of the description is one of the estimate, before anything is read.
  Json description = Json::parse(ReadTextFile(dir_.File(kAscendDescriptionFile)).value());
  description["model.layers.0.self_attn.q_b_proj.weight"] = "W4A8";
  dir_.Write(kAscendDescriptionFile, description.dump());
  const ModelConfig config = ReadModelConfig(dir_.path()).value();
  const auto estimate = EstimateModelMemory(config, {0, config.num_layers, true, true}, kOptions, *kernels_);
  EXPECT_NE(estimate.status().message().find("type W4A8"), std::string::npos) << estimate.status().message();
}

}  // namespace
}  // namespace penstock
