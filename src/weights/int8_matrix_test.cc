// SPDX-License-Identifier: Apache-2.0
#include "weights/int8_matrix.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "weights/quantise_row.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::BytesOf;
using testing::F32Bytes;
using testing::SafetensorsBuilder;
using testing::TempDir;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
using Tensors = std::map<std::string, Tensor>;

Tensor F32(std::vector<int64_t> shape, const std::vector<float>& values) {
  return {"F32", std::move(shape), F32Bytes(values)};
}

const int8_t kWeights[] = {1, -2, 3, -128, 127, 0};     // [2, 3]
const std::vector<float> kScales = {0.5f, 0.25f};       // of the weights
const std::vector<float> kDeqScales = {0.05f, 0.025f};  // with an input scale of 0.1
const int32_t kQuantBias[] = {100, -7};

Tensors Dynamic() {
  return {{"x.weight", {"I8", {2, 3}, BytesOf(kWeights, 6)}},
          {"x.weight_scale", F32({2, 1}, kScales)},
          {"x.weight_offset", F32({2, 1}, {0, 0})}};
}

Tensors Static() {
  Tensors tensors = Dynamic();
  tensors["x.input_scale"] = F32({1}, {0.1f});
  tensors["x.input_offset"] = F32({1}, {-3});
  tensors["x.deq_scale"] = F32({2}, kDeqScales);
  tensors["x.quant_bias"] = {"I32", {2}, BytesOf(kQuantBias, 8)};
  return tensors;
}

Checkpoint Open(const TempDir& dir, const Tensors& tensors) {
  SafetensorsBuilder builder;
  for (const auto& [name, tensor] : tensors) builder.Add(name, tensor.dtype, tensor.shape, tensor.bytes);
  dir.Write("model.safetensors", builder.Text());
  return Checkpoint::Open(dir.path()).value();
}

void ExpectError(const Tensors& tensors, WeightType type, StatusCode code, const std::string& part) {
  SCOPED_TRACE(part);
  TempDir dir;
  const Checkpoint checkpoint = Open(dir, tensors);
  const auto matrix = ReadInt8Matrix(TensorReader(checkpoint), "x.weight", type, 2, 3);
  ASSERT_FALSE(matrix.ok());
  EXPECT_EQ(matrix.status().code(), code);
  EXPECT_NE(matrix.status().message().find(part), std::string::npos) << matrix.status().message();
  EXPECT_NE(matrix.status().message().find("x.weight is W8A8"), std::string::npos)
      << matrix.status().message();
}

TEST(Int8MatrixTest, DynamicWeightsWithScalesOfEveryForm) {
  Tensors tensors = Dynamic();
  const Tensor forms[] = {
      tensors["x.weight_scale"], F32({2}, kScales), {"BF16", {2, 1}, testing::Bf16Bytes(kScales)}};
  for (const Tensor& form : forms) {
    tensors["x.weight_scale"] = form;
    TempDir dir;
    const Checkpoint checkpoint = Open(dir, tensors);
    const auto matrix = ReadInt8Matrix(TensorReader(checkpoint), "x.weight", WeightType::kW8A8Dynamic, 2, 3);
    ASSERT_TRUE(matrix.ok()) << matrix.status().message();
    EXPECT_EQ(matrix->weight_scale, kScales);
    EXPECT_EQ(matrix->input_scale, 0.0f);
    EXPECT_EQ(matrix->weight.view().Row<int8_t>(1)[0], -128);
  }
}

TEST(Int8MatrixTest, StaticWeightsInThePrecisionOfEverySaver) {
  const uint32_t patterns[] = {0x3d4ccccd, 0x3ccccccd};  // 0.05f, 0.025f
  const int64_t wide[] = {patterns[0], patterns[1]};
  Tensors fp16 = Static();
  fp16["x.deq_scale"] = {"I64", {2}, BytesOf(wide, 16)};
  fp16.erase("x.weight_scale");
  fp16.erase("x.weight_offset");
  Tensors bf16 = Static();
  bf16["x.input_scale"] = {"BF16", {1}, testing::Bf16Bytes(std::vector<float>{0.1f})};
  bf16["x.input_offset"] = {"BF16", {1}, testing::Bf16Bytes(std::vector<float>{-3.0f})};
  for (const Tensors& tensors : {Static(), fp16, bf16}) {
    TempDir dir;
    const Checkpoint checkpoint = Open(dir, tensors);
    const auto matrix = ReadInt8Matrix(TensorReader(checkpoint), "x.weight", WeightType::kW8A8, 2, 3);
    ASSERT_TRUE(matrix.ok()) << matrix.status().message();
    EXPECT_NEAR(matrix->input_scale, 0.1f, 2e-4f);
    EXPECT_EQ(matrix->input_offset, -3);
    EXPECT_EQ(matrix->deq_scale, kDeqScales);
    EXPECT_EQ(matrix->quant_bias, (std::vector<int32_t>{100, -7}));
    EXPECT_TRUE(matrix->weight_scale.empty());
  }
}

// W8A8_MIX has both sets, of which the dynamic one is used.
TEST(Int8MatrixTest, MixIsDynamic) {
  TempDir dir;
  const Checkpoint checkpoint = Open(dir, Static());
  const auto matrix = ReadInt8Matrix(TensorReader(checkpoint), "x.weight", WeightType::kW8A8Mix, 2, 3);
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  EXPECT_EQ(matrix->weight_scale, kScales);
  EXPECT_EQ(matrix->input_scale, 0.0f);
}

TEST(Int8MatrixTest, WhatIsMissingOrWrongIsNamed) {
  constexpr auto kBad = StatusCode::kInvalidArgument;
  const auto without = [](Tensors tensors, const std::string& name) {
    tensors.erase(name);
    return tensors;
  };
  const auto with = [](Tensors tensors, const std::string& name, Tensor tensor) {
    tensors[name] = std::move(tensor);
    return tensors;
  };
  for (const char* name : {"x.input_scale", "x.input_offset", "x.deq_scale", "x.quant_bias", "x.weight"}) {
    ExpectError(without(Static(), name), WeightType::kW8A8, StatusCode::kNotFound,
                fmt::format("tensor {} is missing", name));
  }
  ExpectError(without(Dynamic(), "x.weight_scale"), WeightType::kW8A8Dynamic, StatusCode::kNotFound,
              "tensor x.weight_scale is missing");

  const auto dynamic = [&](const std::string& name, const Tensor& tensor, StatusCode code, const char* part) {
    ExpectError(with(Dynamic(), name, tensor), WeightType::kW8A8Dynamic, code, part);
  };
  dynamic("x.weight", {"I8", {3, 2}, BytesOf(kWeights, 6)}, kBad, "shape [3,2], expected [2,3]");
  dynamic("x.weight", {"U8", {2, 3}, BytesOf(kWeights, 6)}, kBad, "tensor x.weight: dtype U8, expected I8");
  dynamic("x.weight_scale", F32({2, 2}, {1, 1, 1, 1}), kBad, "x.weight_scale: shape [2,2], expected [2,1]");
  dynamic("x.weight_scale", F32({3}, {1, 1, 1}), kBad, "x.weight_scale: shape [3], expected [2]");
  dynamic("x.weight_scale", F32({2, 1}, {1, kNan}), kBad, "tensor x.weight_scale: scale 1 is nan");
  dynamic("x.weight_scale", F32({2, 1}, {kInfinity, 1}), kBad, "tensor x.weight_scale: scale 0 is inf");
  dynamic("x.weight_scale", F32({2, 1}, {1, -1}), kBad, "tensor x.weight_scale: scale 1 is -1");
  dynamic("x.weight_offset", F32({2, 1}, {0, 5}), StatusCode::kUnimplemented,
          "tensor x.weight_offset: offset 1 is 5, expected 0");
  dynamic("x.weight_scale", {"I32", {2}, BytesOf(kQuantBias, 8)}, StatusCode::kUnimplemented, "dtype I32");

  const int64_t wide[] = {int64_t{1} << 40, 0};
  const auto fixed = [&](const std::string& name, const Tensor& tensor, const char* part) {
    ExpectError(with(Static(), name, tensor), WeightType::kW8A8, kBad, part);
  };
  fixed("x.input_scale", F32({1}, {0}), "x.input_scale is 0, expected a finite number above 0");
  fixed("x.input_scale", F32({1}, {kNan}), "x.input_scale is nan");
  fixed("x.input_scale", F32({2}, {1, 1}), "x.input_scale: shape [2], expected [1]");
  fixed("x.input_offset", F32({1}, {0.5f}), "x.input_offset is 0.5, expected an integer in [-128, 127]");
  fixed("x.input_offset", F32({1}, {200}), "x.input_offset is 200");
  fixed("x.input_offset", F32({1}, {kNan}), "x.input_offset is nan");
  fixed("x.deq_scale", F32({2}, {kNan, 1}), "tensor x.deq_scale: scale 0 is nan");
  fixed("x.deq_scale", F32({3}, {1, 1, 1}), "x.deq_scale: shape [3], expected [2]");
  fixed("x.deq_scale", {"I64", {2}, BytesOf(wide, 16)},
        "number 0 is 1099511627776, expected the 32-bit pattern");
  fixed("x.deq_scale", F32({2}, {0.05f, 0.03f}),
        "number 1 is 0.03, expected input_scale * weight_scale = 0.025");
  fixed("x.quant_bias", F32({2}, {1, 1}), "tensor x.quant_bias: dtype F32, expected I32");
}

TEST(QuantiseRowTest, RoundsToTheNearestOf255) {
  const std::vector<float> row = {-254, 0, 2, 3, 5, 127.2f, 253};
  std::vector<int8_t> q(row.size());
  EXPECT_EQ(QuantiseRow(row.data(), 7, q.data()), 2.0f);
  EXPECT_EQ(q, (std::vector<int8_t>{-127, 0, 1, 2, 2, 64, 126}));  // 1.5 and 2.5 to the even 2
  const std::vector<float> zeros(3);
  EXPECT_EQ(QuantiseRow(zeros.data(), 3, q.data()), 1.0f);
  EXPECT_EQ(q[2], 0);
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    const std::vector<float> values = {1, bad};
    EXPECT_FALSE(QuantiseRow(values.data(), 2, q.data()).has_value());
  }
}

// Of every form that float weights have: the numbers are those of QuantiseRow.
TEST(Int8MatrixTest, FloatWeightsAreQuantisedByRow) {
  TempDir dir;
  const std::vector<float> values = {1, -2, 127, -64, 32, 16};
  const std::string fp8 = {'\x38', '\x40', '\x48', '\x40', '\x38', '\x38'};  // 1 2 4 2 1 1
  const Checkpoint checkpoint = Open(dir, {{"f.weight", F32({2, 3}, values)},
                                           {"b.weight", {"BF16", {2, 3}, testing::Bf16Bytes(values)}},
                                           {"p.weight", {"F8_E4M3", {2, 3}, fp8}},
                                           {"p.weight_scale_inv", F32({1, 2}, {1, 63.5f})},
                                           {"n.weight", F32({1, 3}, {1, kNan, 1})}});
  const TensorReader reader(checkpoint, {.rows = 2, .cols = 2});
  for (const char* name : {"f.weight", "b.weight"}) {
    const auto matrix = QuantiseMatrix(reader, name, 2, 3);
    ASSERT_TRUE(matrix.ok()) << matrix.status().message();
    EXPECT_EQ(matrix->weight_scale, (std::vector<float>{1.0f, 64.0f / 127}));
    const auto* q = matrix->weight.view().Row<int8_t>(0);
    EXPECT_EQ(std::vector<int>(q, q + 6), (std::vector<int>{1, -2, 127, -127, 64, 32}));
  }
  const auto matrix = QuantiseMatrix(reader, "p.weight", 2, 3);  // rows 1 2 254 and 2 1 63.5
  ASSERT_TRUE(matrix.ok()) << matrix.status().message();
  EXPECT_EQ(matrix->weight_scale, (std::vector<float>{2.0f, 0.5f}));
  const auto* q = matrix->weight.view().Row<int8_t>(0);
  EXPECT_EQ(std::vector<int>(q, q + 6), (std::vector<int>{0, 1, 127, 4, 2, 127}));
  EXPECT_NE(QuantiseMatrix(reader, "n.weight", 1, 3).status().message().find("row 0 is not finite"),
            std::string::npos);
}

TEST(Int8MatrixTest, DequantisedValues) {
  TempDir dir;
  const Checkpoint checkpoint = Open(dir, Dynamic());
  const auto mat = DequantiseInt8(TensorReader(checkpoint), "x.weight", 2, 3, DType::kF32);
  ASSERT_TRUE(mat.ok()) << mat.status().message();
  EXPECT_EQ(mat->view().Row<float>(0)[2], 1.5f);
  EXPECT_EQ(mat->view().Row<float>(1)[0], -32.0f);
}

}  // namespace
}  // namespace penstock
