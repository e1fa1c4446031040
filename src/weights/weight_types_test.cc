// SPDX-License-Identifier: Apache-2.0
#include "weights/weight_types.h"

#include <gtest/gtest.h>

#include "weights/ascend_description.h"
#include "weights/compressed_tensors.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::TempDir;

void ExpectError(const Status& status, StatusCode code, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(AscendDescriptionTest, NamesTheTypeOfEachWeight) {
  TempDir dir;
  dir.Write(kAscendDescriptionFile, R"({
    "model_quant_type": "W8A8", "version": "1.0.0", "group_size": 0, "kv_quant_type": "C8",
    "metadata": {"a.weight": "W4A4", "list": [1, "x"]}, "optional": null,
    "a.weight": "W8A8", "a.deq_scale": "W8A8", "b.weight": "W8A8_DYNAMIC", "c.weight": "W8A8_MIX",
    "d.weight": "FLOAT", "e.weight": "W4A8_DYNAMIC"})");
  const auto types = ReadAscendDescription(dir.path());
  ASSERT_TRUE(types.ok()) << types.status().message();
  const auto type_of = [&](const std::string& name) { return (*types)->TypeOf(name, true); };
  EXPECT_EQ(type_of("a.weight").value(), WeightType::kW8A8);
  EXPECT_EQ(type_of("b.weight").value(), WeightType::kW8A8Dynamic);
  EXPECT_EQ(type_of("c.weight").value(), WeightType::kW8A8Mix);
  EXPECT_EQ(type_of("d.weight").value(), WeightType::kFloat);
  EXPECT_EQ(type_of("not.listed.weight").value(), WeightType::kFloat);
  ExpectError(type_of("e.weight").status(), StatusCode::kUnimplemented,
              "tensor e.weight: type W4A8_DYNAMIC, expected FLOAT, W8A8, W8A8_DYNAMIC or W8A8_MIX");
  const std::string summary = (*types)->Summary();
  for (const char* part :
       {"1 W8A8,", "1 W8A8_MIX (computed as W8A8_DYNAMIC)", "kv_quant_type = C8 has no effect"}) {
    EXPECT_NE(summary.find(part), std::string::npos) << summary;
  }
}

TEST(AscendDescriptionTest, WhatIsNoDescription) {
  TempDir dir;
  dir.Write("config.json", "{}");
  ExpectError(ReadAscendDescription(dir.path()).status(), StatusCode::kNotFound,
              "ModelSlim Quantization Config Not Found");
  ExpectError(ReadAscendDescription(dir.path()).status(), StatusCode::kNotFound, "JSON files: config.json");
  struct Case {
    const char* text;
    const char* part;
  };
  const Case cases[] = {{"[]", "not a JSON object"},
                        {"\"W8A8\"", "not a JSON object"},
                        {"{\"a\":", "not JSON at byte"},
                        {R"({"a.weight": 8})", "the type of a.weight is not a string"},
                        {R"({"a.weight": ["W8A8"]})", "the type of a.weight is not a string"}};
  for (const Case& test : cases) {
    SCOPED_TRACE(test.text);
    dir.Write(kAscendDescriptionFile, test.text);
    ExpectError(ReadAscendDescription(dir.path()).status(), StatusCode::kInvalidArgument, test.part);
  }
}

TEST(WeightTypesTest, ShardsOfAFusedLayerHaveOneType) {
  EXPECT_TRUE(CheckSameType("q", WeightType::kW8A8, "k", WeightType::kW8A8).ok());
  ExpectError(CheckSameType("q", WeightType::kW8A8, "k", WeightType::kFloat), StatusCode::kInvalidArgument,
              "Detected some but not all shards of a fused layer are quantized");
  ExpectError(CheckSameType("q", WeightType::kW8A8, "k", WeightType::kW8A8Dynamic),
              StatusCode::kInvalidArgument,
              "Not all shards of a fused layer are quantized with same quant type");
  ExpectError(CheckSameType("q", WeightType::kW8A8, "k", WeightType::kW8A8Mix), StatusCode::kInvalidArgument,
              "tensor q is W8A8, tensor k is W8A8_MIX");
}

Json PerChannelConfig() {
  return Json::parse(R"({
    "quant_method": "compressed-tensors", "format": "int-quantized", "quantization_status": "compressed",
    "global_compression_ratio": 1.2, "kv_cache_scheme": null, "ignore": ["lm_head", "re:.*mlp\\.gate$"],
    "config_groups": {"group_0": {"targets": ["Linear"], "output_activations": null,
      "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false,
                  "group_size": null, "block_structure": null, "actorder": null, "observer": "minmax"},
      "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true,
                            "observer": null}}}})");
}

TEST(CompressedTensorsTest, TargetsAndIgnoredModules) {
  const auto types = ParseCompressedTensors(PerChannelConfig());
  ASSERT_TRUE(types.ok()) << types.status().message();
  const auto type_of = [&](const std::string& name, bool is_projection) {
    return (*types)->TypeOf(name, is_projection).value();
  };
  EXPECT_EQ((*types)->method(), "compressed-tensors");
  EXPECT_EQ(type_of("model.layers.0.mlp.gate_proj.weight", true), WeightType::kW8A8Dynamic);
  EXPECT_EQ(type_of("model.layers.0.mlp.gate.weight", true), WeightType::kFloat);
  EXPECT_EQ(type_of("lm_head.weight", true), WeightType::kFloat);
  EXPECT_EQ(type_of("model.embed_tokens.weight", false), WeightType::kFloat);  // not of the class Linear

  Json config = PerChannelConfig();
  config["config_groups"]["group_0"]["targets"] = {"re:model\\.layers\\.1\\.", "lm_head"};
  config["ignore"] = nullptr;
  const auto some = ParseCompressedTensors(config).value();
  EXPECT_EQ(some->TypeOf("model.layers.0.mlp.up_proj.weight", true).value(), WeightType::kFloat);
  EXPECT_EQ(some->TypeOf("model.layers.1.mlp.up_proj.weight", true).value(), WeightType::kW8A8Dynamic);
  EXPECT_EQ(some->TypeOf("lm_head.weight", false).value(), WeightType::kW8A8Dynamic);  // named
}

TEST(CompressedTensorsTest, OtherSchemesAreRefusedByName) {
  constexpr auto kNo = StatusCode::kUnimplemented, kBad = StatusCode::kInvalidArgument;
  const std::string weights = R"({"config_groups":{"group_0":{"weights":)";
  const std::string inputs = R"({"config_groups":{"group_0":{"input_activations":)";
  struct Case {
    std::string patch;
    StatusCode code;
    const char* part;
  };
  const Case cases[] = {
      {R"({"format":"pack-quantized"})", kNo, "format = \"pack-quantized\", expected \"int-quantized\""},
      {R"({"format":null})", kNo, "format = null"},
      {R"({"kv_cache_scheme":{"num_bits":8}})", kNo, "kv_cache_scheme = "},
      {R"({"sparsity_config":{"format":"sparse-24-bitmask"}})", kNo, "sparsity_config"},
      {R"({"transform_config":{"config_groups":{"R1":{}}}})", kNo, "transform_config"},
      {R"({"config_groups":null})", kBad, "config_groups is not an object"},
      {R"({"config_groups":{"group_0":7}})", kBad, "group_0 is not an object"},
      {R"({"config_groups":{"group_0":{"targets":[]}}})", kBad, "targets is empty"},
      {R"({"config_groups":{"group_0":{"targets":"Linear"}}})", kBad, "targets is not a list"},
      {R"({"config_groups":{"group_0":{"targets":["re:("]}}})", kBad, "not a pattern"},
      {R"({"config_groups":{"group_0":{"format":"float-quantized"}}})", kNo, "format = \"float-quantized\""},
      {R"({"config_groups":{"group_0":{"output_activations":{"num_bits":8}}}})", kNo, "output_activations"},
      {R"({"ignore":[7]})", kBad, "7 is not a string"},
      {weights + R"({"num_bits":4}}}})", kNo, "weights: num_bits = 4, expected 8"},
      {weights + R"({"type":"float"}}}})", kNo, "weights: type = \"float\""},
      {weights + R"({"strategy":"group"}}}})", kNo, "weights: strategy = \"group\""},
      {weights + R"({"symmetric":false}}}})", kNo, "weights: symmetric = false"},
      {weights + R"({"actorder":"group"}}}})", kNo, "weights: actorder"},
      {weights + "null}}}", kNo, "weights is absent, expected int8 weights per channel"},
      {inputs + R"({"dynamic":false}}}})", kNo, "input_activations: dynamic = false"},
      {inputs + R"({"strategy":"tensor"}}}})", kNo, "input_activations: strategy = \"tensor\""},
      {inputs + R"({"symmetric":null}}}})", kNo, "input_activations: symmetric = null"},
      {inputs + "null}}}", kNo, "input_activations is absent"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.patch);
    Json config = PerChannelConfig();
    config.merge_patch(Json::parse(test.patch));
    ExpectError(ParseCompressedTensors(config).status(), test.code, test.part);
  }
}

}  // namespace
}  // namespace penstock
