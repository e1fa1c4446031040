// A quantised checkpoint is written, and loaded by the engine as any other.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/quantise/quantise_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "model/quantise/compare_models.h"
#include "model/quantise/smoothing.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_w8a8.h"
#include "weights/checkpoint.h"
#include "weights/int8_matrix.h"
#include "weights/tensor_reader.h"

namespace penstock {
namespace {

using testing::F32Tensor;
using testing::StagedModel;
using testing::TempDir;
using testing::TestSequence;
using testing::W8A8Files;

using Logits = std::vector<std::vector<float>>;

const std::vector<int32_t> kTokens = {5, 17, 3, 90, 41, 8, 22, 64, 1, 33};
const TokenTexts kTexts = {kTokens, {2, 9, 77, 30, 12, 50}, {11}};

class QuantiseTest : public ::testing::Test {
 protected:
  ModelConfig WriteModel(const std::string& family, const std::string& dtype = "float32") {
    Json json = testing::TinyConfig(family);
    json["torch_dtype"] = dtype;
    dir_.Write("config.json", json.dump());
    const ModelConfig config = ReadModelConfig(dir_.path()).value();
    dir_.Write("model.safetensors", testing::RandomTensors(config, dtype == "bfloat16").Text());
    return config;
  }

  ObservedInputs Observe(const ModelConfig& config, const TokenTexts& texts = kTexts) {
    return ObserveInputs({dir_.path(), config, DType::kF32, texts}, *kernels_, {}).value();
  }

  Result<QuantiseReport> Quantise(const ModelConfig& config, QuantScheme scheme, const ObservedInputs& inputs,
                                  uint64_t max_file_bytes = 200'000, bool smooth = true) {
    std::filesystem::remove_all(out());
    std::filesystem::create_directory(out());
    return QuantiseModel(dir_.path(), out(), config, {scheme, max_file_bytes, smooth}, inputs, {});
  }

  Logits Run(const std::string& dir, const std::string& quantization) {
    const ModelConfig config = ReadModelConfig(dir, quantization).value();
    const ModelOptions options = {.dtype = DType::kF32,
                                  .block_size = 16,
                                  .max_batched_tokens = 32,
                                  .max_model_len = 64,
                                  .max_logit_rows = 32};
    StagedModel model(dir, config, 2, options, *kernels_);
    TestSequence sequence = model.NewSequence(kTokens);
    return model.RunChunks(sequence, {static_cast<int32_t>(kTokens.size())});
  }

  std::string out() const { return dir_.File("out"); }
  Json Description() const { return ReadJsonFile(out() + "/" + kAscendDescriptionFile).value(); }

  TempDir dir_;
  std::unique_ptr<Kernels> kernels_ = MakeRefKernels();
};

double RelativeRms(const Logits& got, const Logits& want) {
  double errors = 0, values = 0;
  for (size_t r = 0; r < want.size(); ++r) {
    for (size_t i = 0; i < want[r].size(); ++i) {
      errors += std::pow(static_cast<double>(got[r][i]) - want[r][i], 2);
      values += std::pow(static_cast<double>(want[r][i]), 2);
    }
  }
  return std::sqrt(errors / values);
}

// Of the tokens' errors: where an expert or two are others, a token is far off.
double MedianError(const Logits& got, const Logits& want) {
  std::vector<double> errors;
  for (size_t r = 0; r < want.size(); ++r) errors.push_back(RelativeRms({got[r]}, {want[r]}));
  std::ranges::sort(errors);
  return errors[errors.size() / 2];
}

// What is written is what -q w8a8-dynamic makes at load, to the last bit.
TEST_F(QuantiseTest, DynamicIsThatOfLoading) {
  for (const std::string& family : testing::Families()) {
    for (const char* dtype : {"float32", "bfloat16"}) {
      SCOPED_TRACE(family + " " + dtype);
      const ModelConfig config = WriteModel(family, dtype);
      ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8Dynamic, {}).ok());
      const Logits written = Run(out(), "ascend");
      EXPECT_EQ(written, Run(dir_.path(), "w8a8-dynamic"));
      EXPECT_NE(written, Run(dir_.path(), ""));
    }
  }
}

TEST_F(QuantiseTest, StaticGivesAboutTheFloatLogits) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const bool has_experts = family == "deepseek_v3" || family == "qwen3_moe";
    const double bound = has_experts ? 0.2 : 0.06;
    const ModelConfig config = WriteModel(family);
    const ObservedInputs inputs = Observe(config);
    ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8, inputs).ok());
    const Logits expected = Run(dir_.path(), ""), written = Run(out(), "ascend");
    EXPECT_LT(MedianError(written, expected), bound);
    EXPECT_GT(RelativeRms(written, expected), 1e-4);
    EXPECT_NE(written, Run(dir_.path(), "w8a8-dynamic"));
  }
}

// What divides an input is what multiplies the weights, and rounds nothing.
TEST_F(QuantiseTest, SmoothingChangesNoFloatModel) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = WriteModel(family);
    const Checkpoint checkpoint = Checkpoint::Open(dir_.path()).value();
    const TensorReader reader(checkpoint);
    const auto jobs = MakeQuantiseJobs(checkpoint, config, QuantScheme::kW8A8Dynamic).value();
    const Smoothing smoothing = PlanSmoothing(reader, jobs, Observe(config)).value();
    const std::string layer = "model.layers.0.";
    const bool latent = family == "deepseek_v3", dense = family != "qwen3_moe";  // the first layer is
    for (const char* name : {latent ? "q_a_proj" : "q_proj", latent ? "kv_a_proj_with_mqa" : "v_proj"}) {
      const auto made = smoothing.FactorsOf(layer + "input_layernorm.weight").rows;
      const auto used = smoothing.FactorsOf(layer + "self_attn." + name + ".weight").cols;
      ASSERT_EQ(made.size(), static_cast<size_t>(config.hidden_dim));
      ASSERT_EQ(used.size(), made.size());
      for (size_t c = 0; c < made.size(); ++c) {
        int exponent = 0;
        EXPECT_EQ(std::frexp(used[c], &exponent), 0.5f);
        EXPECT_EQ(made[c] * used[c], 1.0f);
      }
    }
    const auto up = smoothing.FactorsOf(layer + "mlp.up_proj.weight");
    const auto down = smoothing.FactorsOf(layer + "mlp.down_proj.weight");
    EXPECT_EQ(up.rows.size(), down.cols.size());
    EXPECT_EQ(up.cols.empty(), !dense);
    for (size_t r = 0; r < up.rows.size(); ++r) EXPECT_EQ(up.rows[r] * down.cols[r], 1.0f);
    EXPECT_TRUE(smoothing.FactorsOf("model.norm.weight").rows.empty());
    const int32_t folds = smoothing.num_inputs();
    EXPECT_EQ(folds, family == "qwen3_moe" ? 6 : family == "deepseek_v3" ? 9 : 12);
    EXPECT_EQ(PlanSmoothing(reader, jobs, {}).value().num_inputs(), 0);
  }
}

// A channel of norms' outputs grows, and what multiplies it shrinks: nothing to a float model.
TEST_F(QuantiseTest, SmoothingUndoesOutliers) {
  const ModelConfig config = WriteModel("qwen3");
  const Logits expected = Run(dir_.path(), "");
  W8A8Files files;
  {
    const Checkpoint checkpoint = Checkpoint::Open(dir_.path()).value();
    const TensorReader reader(checkpoint);
    for (const std::string& name : checkpoint.Names()) {
      const auto& shape = checkpoint.Find(name)->info->shape;
      const int64_t rows = shape.size() == 2 ? shape[0] : 1, cols = shape.back();
      std::vector<float> values;
      if (shape.size() == 1) {
        values = reader.ReadVector(name, cols).value();
      } else {
        const StoredMat mat = reader.ReadMatrix(name, rows, cols, DType::kF32).value();
        for (int64_t r = 0; r < rows; ++r)
          values.insert(values.end(), mat.view().Row<float>(r), mat.view().Row<float>(r) + cols);
      }
      const auto is = [&](const char* part) { return name.find(part) != name.npos; };
      const float factor = is("input_layernorm") || is("post_attention_layernorm") ? 64.0f
                           : is("q_proj") || is("k_proj") || is("v_proj") || is("gate_proj") || is("up_proj")
                               ? 1.0f / 64
                               : 1.0f;
      for (int64_t r = 0; r < rows; ++r) values[r * cols + 5] *= factor;
      files.tensors[name] = F32Tensor(shape, values);
    }
  }
  files.Write(dir_);
  EXPECT_LT(RelativeRms(Run(dir_.path(), ""), expected), 1e-5);
  const ObservedInputs inputs = Observe(config);
  for (const QuantScheme scheme : {QuantScheme::kW8A8, QuantScheme::kW8A8Dynamic}) {
    ASSERT_TRUE(Quantise(config, scheme, inputs, 200'000, false).ok());
    const double plain = RelativeRms(Run(out(), "ascend"), expected);
    ASSERT_EQ(Quantise(config, scheme, inputs)->smoothed_inputs, 12);
    EXPECT_LT(RelativeRms(Run(out(), "ascend"), expected), plain / 4);
  }
}

// Of every tensor; and every tensor that is described is there.
TEST_F(QuantiseTest, TypesAreTheRecipes) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = WriteModel(family);
    const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
    for (const QuantScheme scheme : {QuantScheme::kW8A8, QuantScheme::kW8A8Dynamic}) {
      const bool is_static = scheme == QuantScheme::kW8A8;
      ASSERT_TRUE(Quantise(config, scheme, Observe(config)).ok());
      const Json description = Description();
      const Checkpoint checkpoint = Checkpoint::Open(out()).value();
      EXPECT_EQ(description["model_quant_type"], is_static ? "W8A8" : "W8A8_DYNAMIC");
      for (const std::string& name : checkpoint.Names()) {
        ASSERT_TRUE(description.contains(name)) << name;
        if (!table.Has(name)) continue;
        std::string expected = "FLOAT";
        const bool is_projection = table.Get(name).projection != Projection::kNone;
        if (is_projection && name.find("kv_b_proj") == name.npos) {
          expected = is_static && name.find("self_attn") != name.npos ? "W8A8" : "W8A8_DYNAMIC";
        }
        EXPECT_EQ(description[name], expected) << name;
      }
      for (const auto& [name, type] : description.items()) {
        EXPECT_TRUE(!name.starts_with("model.") || checkpoint.Find(name).ok()) << name;
      }
      EXPECT_EQ(ReadJsonFile(out() + "/config.json").value()["quantize"],
                is_static ? "w8a8" : "w8a8_dynamic");
    }
  }
}

// The extremes of the first layer's normed embeddings, computed here; all matrices that share the input.
TEST_F(QuantiseTest, TheObserverSeesTheTrueExtremes) {
  const ModelConfig config = WriteModel("qwen3");
  const Checkpoint checkpoint = Checkpoint::Open(dir_.path()).value();
  const TensorReader reader(checkpoint);
  const auto weight = reader.ReadVector("model.layers.0.input_layernorm.weight", config.hidden_dim).value();
  const StoredMat table =
      reader.ReadMatrix("model.embed_tokens.weight", config.vocab_size, config.hidden_dim, DType::kF32)
          .value();
  float min = 0, max = 0;
  int64_t num_tokens = 0;
  for (const auto& text : kTexts) {
    for (const int32_t id : text) {
      const auto* row = table.view().Row<float>(id);
      double squares = 0;
      for (int32_t c = 0; c < config.hidden_dim; ++c) squares += static_cast<double>(row[c]) * row[c];
      for (int32_t c = 0; c < config.hidden_dim; ++c) {
        const double value =
            row[c] / std::sqrt(squares / config.hidden_dim + config.rms_norm_eps) * weight[c];
        min = std::min(min, static_cast<float>(value));
        max = std::max(max, static_cast<float>(value));
      }
      ++num_tokens;
    }
  }
  const ObservedInputs inputs = Observe(config);
  for (const char* module : {"q_proj", "k_proj", "v_proj"}) {
    const ObservedInput& input = inputs.at(fmt::format("model.layers.0.self_attn.{}.weight", module));
    EXPECT_NEAR(input.min, min, 1e-5);
    EXPECT_NEAR(input.max, max, 1e-5);
    EXPECT_EQ(input.num_rows, num_tokens);
    EXPECT_TRUE(input.all_finite);
  }
}

TEST_F(QuantiseTest, StaticNumbersAreTheReferences) {
  const ModelConfig config = WriteModel("llama");  // its attention has biases
  const ObservedInputs inputs = Observe(config);
  ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8, inputs).ok());
  const Checkpoint checkpoint = Checkpoint::Open(out()).value();
  const TensorReader reader(checkpoint);
  const std::string stem = "model.layers.2.self_attn.o_proj.";
  const ObservedInput& input = inputs.at(stem + "weight");
  const float scale = reader.ReadVector(stem + "input_scale", 1).value()[0];
  const float offset = reader.ReadVector(stem + "input_offset", 1).value()[0];
  EXPECT_FLOAT_EQ(scale, (input.max - input.min) / 255);
  EXPECT_NEAR(input.min / scale + offset, -128, 0.501);
  EXPECT_NEAR(input.max / scale + offset, 127, 0.501);
  const auto weight_scale = reader.ReadColumn(stem + "weight_scale", 64).value();
  const auto deq_scale = reader.ReadVector(stem + "deq_scale", 64).value();
  const auto quant_bias = reader.ReadI32(stem + "quant_bias", 64).value();
  const auto bias = reader.ReadVector(stem + "bias", 64).value();
  const StoredMat weight = reader.ReadInt8(stem + "weight", 64, 64).value();
  for (int64_t r = 0; r < 64; ++r) {
    EXPECT_EQ(deq_scale[r], scale * weight_scale[r]);
    double sum = 0;
    for (int64_t c = 0; c < 64; ++c) sum += weight.view().Row<int8_t>(r)[c];
    EXPECT_EQ(quant_bias[r], std::nearbyint(static_cast<double>(bias[r]) / deq_scale[r] - offset * sum));
  }
}

TEST(QuantiseRange, HoldsTheRangeAndZero) {
  EXPECT_FLOAT_EQ(QuantiseRange(-1, 1).scale, 2.0f / 255);
  EXPECT_NEAR(QuantiseRange(-1, 1).offset, -0.5, 0.51);
  EXPECT_EQ(QuantiseRange(0, 255).offset, -128);
  EXPECT_EQ(QuantiseRange(1, 255).offset, -128);  // 0 belongs to it
  EXPECT_EQ(QuantiseRange(-255, -1).offset, 127);
  EXPECT_FLOAT_EQ(QuantiseRange(-255, -1).scale, 1);
  EXPECT_EQ(QuantiseRange(0, 0).scale, 1);
  EXPECT_EQ(QuantiseRange(0, 0).offset, 0);
  EXPECT_TRUE(std::isfinite(QuantiseRange(-3e38f, 3e38f).scale));
}

// fp16 checkpoints have deq_scale as int64, and are read back as others are.
TEST_F(QuantiseTest, ScalesOfFp16ModelsAreBitPatterns) {
  ModelConfig config = WriteModel("qwen3");
  const ObservedInputs inputs = Observe(config);
  ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8, inputs).ok());
  const Logits expected = Run(out(), "");
  config.stored_dtype = DType::kF16;
  ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8, inputs).ok());
  const Checkpoint checkpoint = Checkpoint::Open(out()).value();
  EXPECT_EQ(checkpoint.Find("model.layers.0.self_attn.q_proj.deq_scale")->info->dtype_name, "I64");
  EXPECT_EQ(Run(out(), ""), expected);
}

// Few tokens reach few experts: those that saw none are as complete as the others.
TEST_F(QuantiseTest, ExpertsThatSawNoTokenAreQuantised) {
  for (const char* family : {"qwen3_moe", "deepseek_v3"}) {
    const ModelConfig config = WriteModel(family);
    const ObservedInputs inputs = Observe(config, {{1}});
    const QuantiseReport report = Quantise(config, QuantScheme::kW8A8, inputs).value();
    EXPECT_EQ(Run(out(), "ascend").size(), kTokens.size());
    EXPECT_TRUE(std::ranges::any_of(report.matrices, [](const QuantisedMatrix& matrix) {
      return matrix.module.find("experts.7.") != matrix.module.npos && matrix.input.num_rows == 0;
    }));
  }
}

TEST_F(QuantiseTest, WhatCannotBeQuantisedIsNamed) {
  const ModelConfig config = WriteModel("qwen3");
  ObservedInputs inputs = Observe(config);
  const std::string name = "model.layers.1.self_attn.o_proj.weight";
  const auto message = [&] { return Quantise(config, QuantScheme::kW8A8, inputs).status().message(); };
  inputs[name].all_finite = false;
  EXPECT_EQ(message(), "tensor " + name + ": its input is not finite on the calibration data");
  inputs.erase(name);
  EXPECT_EQ(message(),
            "tensor " + name + ": its input was not observed, expected calibration data that reach it");

  ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8Dynamic, {}).ok());
  const Status twice = CheckQuantisable(out(), ReadModelConfig(out()).value());
  EXPECT_EQ(twice.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(twice.message(),
            out() + ": the weights are quantized already (ascend), expected a float or FP8 checkpoint");

  dir_.Write("model.safetensors", testing::RandomTensors(config, false, [&](const TensorSpec& spec) {
                                    return spec.name != name;
                                  }).Text());
  EXPECT_NE(CheckQuantisable(dir_.path(), config).message().find("tensor " + name + " is missing"),
            std::string::npos);
  W8A8Files files = testing::TinyW8A8(config, [](const TensorSpec&) { return WeightType::kFloat; });
  files.description = Json::object();
  files.tensors["model.layers.0.self_attn.o_proj.bias"] = F32Tensor({64}, std::vector<float>(64, 1.0f));
  files.Write(dir_);
  EXPECT_NE(CheckQuantisable(dir_.path(), config).message().find("a bias, expected none"), std::string::npos);
}

// What the table does not know is copied; block FP8 that stays float becomes bf16; FP8 is as at load.
TEST_F(QuantiseTest, BlockFp8Checkpoints) {
  Json json = testing::TinyConfig("deepseek_v3");
  json["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {32, 32}}};
  dir_.Write("config.json", json.dump());
  const ModelConfig config = ReadModelConfig(dir_.path()).value();
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  std::mt19937 random(3);
  W8A8Files files;
  const auto add_fp8 = [&](const std::string& name, int64_t rows, int64_t cols) {
    std::string bytes(static_cast<size_t>(rows * cols), '\0');
    for (char& byte : bytes) byte = static_cast<char>((random() % 0x50) | (random() & 0x80));
    const int64_t scale_rows = (rows + 31) / 32, scale_cols = (cols + 31) / 32;
    std::vector<float> scales(static_cast<size_t>(scale_rows * scale_cols));
    for (float& scale : scales) scale = 0.01f + static_cast<float>(random() % 100) * 1e-4f;
    files.tensors[name] = {"F8_E4M3", {rows, cols}, bytes};
    files.tensors[name + "_scale_inv"] = F32Tensor({scale_rows, scale_cols}, scales);
  };
  for (const TensorSpec& spec : table.specs()) {
    if (spec.optional) continue;
    if (spec.projection != Projection::kNone) {
      add_fp8(spec.name, spec.shape[0], spec.shape[1]);
    } else {
      files.tensors[spec.name] = F32Tensor(spec.shape, testing::RandomValues(spec, random));
    }
  }
  add_fp8("model.layers.4.eh_proj.weight", 64, 128);  // multi-token prediction
  files.tensors["model.layers.4.enorm.weight"] = F32Tensor({64}, std::vector<float>(64, 1.5f));
  files.Write(dir_);
  ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8Dynamic, {}).ok());
  EXPECT_FALSE(ReadJsonFile(out() + "/config.json").value().contains("quantization_config"));
  const Checkpoint checkpoint = Checkpoint::Open(out()).value();
  EXPECT_EQ(checkpoint.Find("model.layers.4.eh_proj.weight")->info->dtype_name, "BF16");
  EXPECT_EQ(checkpoint.Find("model.layers.4.enorm.weight")->info->dtype_name, "F32");
  EXPECT_EQ(checkpoint.Find("model.layers.0.self_attn.kv_b_proj.weight")->info->dtype_name, "BF16");
  EXPECT_FALSE(checkpoint.Find("model.layers.0.self_attn.kv_b_proj.weight_scale_inv").ok());
  // kv_b is computed in bf16 here, in fp32 there.
  EXPECT_LT(RelativeRms(Run(out(), "ascend"), Run(dir_.path(), "w8a8-dynamic")), 0.02);
}

TEST_F(QuantiseTest, ErrorsOfLayersAndLogits) {
  for (const std::string& family : testing::Families()) {
    SCOPED_TRACE(family);
    const ModelConfig config = WriteModel(family);
    ASSERT_TRUE(Quantise(config, QuantScheme::kW8A8, Observe(config)).ok());
    const WalkSetup one{dir_.path(), config, DType::kF32, kTexts};
    const std::string out_dir = out();
    const ModelConfig quantised = ReadModelConfig(out_dir, "ascend").value();
    const WalkSetup other{out_dir, quantised, DType::kF32, kTexts};
    std::vector<int32_t> done;
    const ModelErrors errors = CompareModels(one, other, *kernels_, [&](int32_t layers, int32_t) {
                                 done.push_back(layers);
                               }).value();
    EXPECT_EQ(done, (std::vector<int32_t>{1, 2, 3, 4}));
    ASSERT_EQ(errors.layers.size(), 4u);
    const bool has_experts = family == "deepseek_v3" || family == "qwen3_moe";
    const double bound = has_experts ? 0.4 : 0.06;
    for (const LayerError& layer : errors.layers) {
      EXPECT_GT(layer.alone, 1e-4);
      EXPECT_LT(layer.alone, bound);
      EXPECT_GT(layer.accumulated, 1e-4);
      EXPECT_LT(layer.accumulated, bound);
    }
    EXPECT_EQ(errors.num_tokens, 17);
    EXPECT_GT(errors.logits, 1e-4);
    EXPECT_LT(errors.logits, bound);
    EXPECT_GT(errors.kl_divergence, 0);
    EXPECT_GT(errors.same_greedy, 0.7);
    EXPECT_NEAR(errors.quantised_perplexity / errors.float_perplexity, 1, 0.1);
    // The layers' walk is the model itself: against itself nothing is wrong, and its logits are the engine's.
    const ModelErrors none = CompareModels(one, one, *kernels_, {}).value();
    EXPECT_EQ(none.layers[3].accumulated, 0);
    EXPECT_EQ(none.logits, 0);
    EXPECT_EQ(none.same_greedy, 1);
    const TokenTexts first = {kTokens};
    const WalkSetup first_one{dir_.path(), config, DType::kF32, first};
    const WalkSetup first_other{out_dir, quantised, DType::kF32, first};
    const double walked = CompareModels(first_one, first_other, *kernels_, {})->logits;
    const Logits want = Run(dir_.path(), ""), got = Run(out_dir, "ascend");
    double direct = 0;
    for (size_t r = 0; r < want.size(); ++r) direct += RelativeRms({got[r]}, {want[r]});
    EXPECT_NEAR(walked, direct / static_cast<double>(want.size()), 1e-6);
  }
}

}  // namespace
}  // namespace penstock
