// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <gtest/gtest.h>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::SafetensorsBuilder;
using testing::TempDir;

const std::vector<float> kOnes = {1, 1};
const std::vector<float> kTwos = {2, 2};

void ExpectError(const TempDir& dir, StatusCode code, const std::string& part) {
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_FALSE(checkpoint.ok());
  EXPECT_EQ(checkpoint.status().code(), code);
  EXPECT_NE(checkpoint.status().message().find(part), std::string::npos) << checkpoint.status().message();
}

void WriteShards(const TempDir& dir, const std::string& index) {
  dir.Write("one.safetensors", SafetensorsBuilder().AddF32("a", {2}, kOnes).Text());
  dir.Write("two.safetensors",
            SafetensorsBuilder().AddF32("b", {2}, kTwos).AddF32("spare", {2}, kTwos).Text());
  dir.Write("model.safetensors.index.json", index);
}

float FirstValue(const TensorRef& ref) {
  float value = 0;
  std::memcpy(&value, ref.bytes().data(), sizeof(value));
  return value;
}

TEST(CheckpointTest, OneFile) {
  TempDir dir;
  dir.Write("model.safetensors", SafetensorsBuilder().AddF32("a", {2}, kOnes).AddF32("b", {2}, kTwos).Text());
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(FirstValue(checkpoint->Find("b").value()), 2.0f);
  EXPECT_EQ(checkpoint->Names(), (std::vector<std::string>{"a", "b"}));
  const auto missing = checkpoint->Find("c");
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("tensor c is missing"), std::string::npos);
}

TEST(CheckpointTest, ShardsHoldWhatTheIndexSays) {
  TempDir dir;
  WriteShards(dir, R"({"metadata":{"total_size":24,"deep":{"x":[1]}},)"
                   R"("weight_map":{"a":"one.safetensors","b":"two.safetensors"}})");
  const auto checkpoint = Checkpoint::Open(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(FirstValue(checkpoint->Find("a").value()), 1.0f);
  EXPECT_EQ(FirstValue(checkpoint->Find("b").value()), 2.0f);
  EXPECT_FALSE(checkpoint->Find("spare").ok());
}

TEST(CheckpointTest, BadIndices) {
  struct Case {
    const char* index;
    const char* part;
  };
  const Case cases[] = {
      {"[]", "not a JSON object"},
      {"7", "not a JSON object"},
      {R"({"weight_map":)", "not JSON at byte"},
      {R"({"metadata":{}})", "no weight_map"},
      {R"({"weight_map":[]})", "weight_map is not one object"},
      {R"({"weight_map":"one.safetensors"})", "weight_map is not one object"},
      {R"({"weight_map":{},"weight_map":{}})", "weight_map is not one object"},
      {R"({"weight_map":{"a":7}})", "the file of a is not a string"},
      {R"({"weight_map":{"a":["one.safetensors"]}})", "the file of a is not a string"},
      {R"({"weight_map":{"a":"two.safetensors"}})", "tensor a is not in two.safetensors"},
      {R"({"weight_map":{"a":"one.safetensors","a":"one.safetensors"}})", "tensor a: listed twice"},
      {R"({"weight_map":{"a":"../one.safetensors"}})", "not the plain name"},
      {R"({"weight_map":{"a":"/etc/one.safetensors"}})", "not the plain name"},
      {R"({"weight_map":{"a":"..\\one.safetensors"}})", "not the plain name"},
      {R"({"weight_map":{"a":"one.bin"}})", "not the plain name"},
      {R"({"weight_map":{"a":""}})", "not the plain name"},
      {R"({"weight_map":{"a":"one\u0000.safetensors"}})", "not the plain name"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.index);
    TempDir dir;
    WriteShards(dir, test.index);
    ExpectError(dir, StatusCode::kInvalidArgument, test.part);
  }
}

TEST(CheckpointTest, AShardIsMissingOrBroken) {
  TempDir dir;
  WriteShards(dir, R"({"weight_map":{"a":"one.safetensors","b":"three.safetensors"}})");
  ExpectError(dir, StatusCode::kNotFound, "three.safetensors");
  dir.Write("three.safetensors", "12345678{");
  ExpectError(dir, StatusCode::kInvalidArgument, "three.safetensors");
}

// Ascend checkpoints: quant_model_weight_w8a8-00001-of-00002.safetensors and an index of that name.
TEST(CheckpointTest, FilesOfOtherNamesAreFound) {
  TempDir dir;
  const std::string stem = "quant_model_weight_w8a8";
  const auto a = SafetensorsBuilder().AddF32("a", {2}, kOnes).Text();
  dir.Write(stem + "-00001-of-00002.safetensors", a);
  dir.Write(stem + "-00002-of-00002.safetensors", SafetensorsBuilder().AddF32("b", {2}, kTwos).Text());
  EXPECT_EQ(Checkpoint::Open(dir.path())->Names(), (std::vector<std::string>{"a", "b"}));
  dir.Write(stem + ".safetensors.index.json",
            R"({"weight_map":{"a":"quant_model_weight_w8a8-00001-of-00002.safetensors"}})");
  EXPECT_EQ(Checkpoint::Open(dir.path())->Names(), (std::vector<std::string>{"a"}));
  // Two indices say nothing; a tensor that stands in two files is an error.
  dir.Write("other.safetensors.index.json", "{}");
  dir.Write("other.safetensors", a);
  ExpectError(dir, StatusCode::kInvalidArgument, "tensor a is in ");
  // model.safetensors goes before all of them.
  dir.Write("model.safetensors", a);
  EXPECT_EQ(Checkpoint::Open(dir.path())->Names(), (std::vector<std::string>{"a"}));
}

TEST(CheckpointTest, OtherFormatsAreNamed) {
  TempDir dir;
  ExpectError(dir, StatusCode::kNotFound, "no *.safetensors");
  dir.Write("pytorch_model.bin", "PK");
  ExpectError(dir, StatusCode::kNotFound, "pytorch_model.bin is of a format that is not read");
  EXPECT_NE(Checkpoint::Open(dir.File("none")).status().message().find("no such directory"),
            std::string::npos);
}

}  // namespace
}  // namespace penstock
