// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::SafetensorsBuilder;
using testing::TempDir;

Checkpoint OpenWith(const TempDir& dir, const SafetensorsBuilder& builder, bool align = true) {
  dir.Write("model.safetensors", builder.Text(align));
  return Checkpoint::Open(dir.path()).value();
}

void ExpectError(const Status& status, StatusCode code, const std::string& part) {
  EXPECT_EQ(status.code(), code);
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(TensorReaderTest, AMatrixIsAViewOfTheFile) {
  TempDir dir;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const Checkpoint checkpoint = OpenWith(dir, SafetensorsBuilder().AddF32("w", {2, 3}, values));
  const auto mat = TensorReader(checkpoint).ReadMatrix("w", 2, 3, DType::kBF16);
  ASSERT_TRUE(mat.ok()) << mat.status().message();
  EXPECT_EQ(mat->view().data, checkpoint.Find("w")->bytes().data());
  EXPECT_EQ(mat->view().Row<float>(1)[2], 6.0f);
}

TEST(TensorReaderTest, UnalignedDataIsCopied) {
  TempDir dir;
  const std::vector<float> values = {1, 2, 3, 4};
  const Checkpoint checkpoint =
      OpenWith(dir, SafetensorsBuilder().AddF32("w", {2, 2}, values), /*align=*/false);
  const auto mat = TensorReader(checkpoint).ReadMatrix("w", 2, 2, DType::kBF16);
  ASSERT_TRUE(mat.ok()) << mat.status().message();
  EXPECT_EQ(reinterpret_cast<uintptr_t>(mat->view().data) % 4, 0u);
  EXPECT_EQ(mat->view().Row<float>(1)[1], 4.0f);
}

TEST(TensorReaderTest, ErrorsSayWhatWasFoundAndExpected) {
  TempDir dir;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  const Checkpoint checkpoint = OpenWith(dir, SafetensorsBuilder()
                                                  .AddF32("w", {2, 3}, values)
                                                  .Add("i", "I32", {2, 1}, std::string(8, 'x'))
                                                  .Add("d", "F64", {1, 1}, std::string(8, 'x'))
                                                  .Add("q", "F8_E4M3", {1, 4}, std::string(4, 'x')));
  const TensorReader reader(checkpoint);
  ExpectError(reader.ReadMatrix("w", 3, 2, DType::kF32).status(), StatusCode::kInvalidArgument,
              "tensor w: shape [2,3], expected [3,2]");
  ExpectError(reader.ReadVector("w", 6).status(), StatusCode::kInvalidArgument, "shape [2,3], expected [6]");
  ExpectError(reader.ReadMatrix("i", 2, 1, DType::kF32).status(), StatusCode::kUnimplemented, "dtype I32");
  ExpectError(reader.ReadMatrix("d", 1, 1, DType::kF32).status(), StatusCode::kUnimplemented, "dtype F64");
  ExpectError(reader.ReadMatrix("q", 1, 4, DType::kF32).status(), StatusCode::kUnimplemented, "F8_E4M3");
  ExpectError(reader.ReadMatrix("x", 1, 4, DType::kF32).status(), StatusCode::kNotFound,
              "tensor x is missing");
}

TEST(TensorReaderTest, VectorsOfEveryFloatTypeBecomeFp32) {
  TempDir dir;
  const std::vector<float> values = {1.5f, -2.0f};
  const uint16_t halves[] = {0x3e00, 0xc000};
  const Checkpoint checkpoint = OpenWith(dir, SafetensorsBuilder()
                                                  .AddF32("f32", {2}, values)
                                                  .Add("bf16", "BF16", {2}, testing::Bf16Bytes(values))
                                                  .Add("f16", "F16", {2}, testing::BytesOf(halves, 4)));
  for (const char* name : {"f32", "bf16", "f16"}) {
    EXPECT_EQ(TensorReader(checkpoint).ReadVector(name, 2).value(), values) << name;
  }
}

// 3 x 5 weights in blocks of 2 x 4: four blocks, three of them cut at the edge.
class Fp8Test : public ::testing::Test {
 protected:
  static constexpr int kRows = 3, kCols = 5;

  SafetensorsBuilder Builder(const std::vector<float>& scales, std::vector<int64_t> scale_shape = {2, 2}) {
    weights_.clear();
    for (int i = 0; i < kRows * kCols; ++i) weights_ += static_cast<char>(17 * i % 127 + (i % 2) * 128);
    return SafetensorsBuilder()
        .Add("w", "F8_E4M3", {kRows, kCols}, weights_)
        .AddF32("w_scale_inv", scale_shape, scales);
  }

  TempDir dir_;
  std::string weights_;
  const std::vector<float> scales_ = {0.5f, 2.0f, 3.0f, 0.25f};
};

TEST_F(Fp8Test, EveryWeightTimesTheScaleOfItsBlock) {
  const Checkpoint checkpoint = OpenWith(dir_, Builder(scales_));
  const TensorReader reader(checkpoint, Fp8Blocks{2, 4});
  const auto f32 = reader.ReadMatrix("w", kRows, kCols, DType::kF32);
  const auto bf16 = reader.ReadMatrix("w", kRows, kCols, DType::kBF16);
  ASSERT_TRUE(f32.ok()) << f32.status().message();
  ASSERT_TRUE(bf16.ok());
  for (int r = 0; r < kRows; ++r) {
    for (int c = 0; c < kCols; ++c) {
      const float scale = scales_[r / 2 * 2 + c / 4];
      const float expected = Fp8E4M3ToFloat(static_cast<uint8_t>(weights_[r * kCols + c])) * scale;
      EXPECT_EQ(f32->view().Row<float>(r)[c], expected) << r << "," << c;
      EXPECT_EQ(bf16->view().Row<Bf16>(r)[c].bits, ToBf16(expected).bits) << r << "," << c;
    }
  }
}

// A row for each call of the loop, the last one first: conversions must not lean on an order.
TEST_F(Fp8Test, RowsAreConvertedByTheLoopThatIsGiven) {
  const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
  const Checkpoint checkpoint = OpenWith(dir_, Builder(scales_).AddF32("f", {kRows, 2}, floats));
  int num_pieces = 0;
  const TensorReader split(checkpoint, Fp8Blocks{2, 4},
                           [&](int64_t count, FunctionRef<void(int64_t, int64_t)> body) {
                             for (int64_t i = count; i > 0; --i, ++num_pieces) body(i - 1, i);
                           });
  const TensorReader whole(checkpoint, Fp8Blocks{2, 4});
  const auto of_split = split.ReadMatrix("w", kRows, kCols, DType::kF32).value();
  EXPECT_EQ(num_pieces, kRows);
  for (const auto& [name, cols] : {std::pair("w", kCols), std::pair("f", 2)}) {
    std::vector<float> rows[2];
    for (const TensorReader* reader : {&split, &whole}) {
      std::vector<float>& values = rows[reader == &whole];
      values.resize(static_cast<size_t>(kRows * cols));
      EXPECT_TRUE(reader
                      ->ReadRows(name, kRows, cols,
                                 [&, cols = cols](int64_t r, const float* row) {
                                   std::copy_n(row, cols, values.begin() + r * cols);
                                   return OkStatus();
                                 })
                      .ok());
    }
    EXPECT_EQ(rows[0], rows[1]);
    if (cols == kCols) {
      EXPECT_TRUE(std::equal(rows[1].begin(), rows[1].end(), of_split.view().Row<float>(0)));
    }
  }
  const Status refused = split.ReadRows("f", kRows, 2, [](int64_t r, const float*) {
    return r == 1 ? InvalidArgument("row {}", r) : OkStatus();
  });
  EXPECT_EQ(refused.message(), "row 1");
}

TEST_F(Fp8Test, EveryPatternIsExact) {
  std::string all;
  for (int i = 0; i < 256; ++i) {
    if ((i & 0x7f) != 0x7f) all += static_cast<char>(i);
  }
  const auto size = static_cast<int64_t>(all.size());
  const std::vector<float> one = {1.0f};
  const Checkpoint checkpoint = OpenWith(
      dir_, SafetensorsBuilder().Add("w", "F8_E4M3", {1, size}, all).AddF32("w_scale_inv", {1, 1}, one));
  const auto mat = TensorReader(checkpoint, Fp8Blocks{128, 256}).ReadMatrix("w", 1, size, DType::kF32);
  ASSERT_TRUE(mat.ok()) << mat.status().message();
  for (int64_t i = 0; i < size; ++i) {
    EXPECT_EQ(mat->view().Row<float>(0)[i], Fp8E4M3ToFloat(static_cast<uint8_t>(all[i]))) << i;
  }
}

TEST_F(Fp8Test, BadScalesAreRefused) {
  const Fp8Blocks blocks{2, 4};
  {
    const Checkpoint checkpoint = OpenWith(dir_, Builder({1, std::numeric_limits<float>::quiet_NaN(), 1, 1}));
    ExpectError(TensorReader(checkpoint, blocks).ReadMatrix("w", kRows, kCols, DType::kF32).status(),
                StatusCode::kInvalidArgument, "tensor w_scale_inv: scale 1 is nan");
  }
  {
    const Checkpoint checkpoint = OpenWith(dir_, Builder({1, 1, 1, std::numeric_limits<float>::infinity()}));
    ExpectError(TensorReader(checkpoint, blocks).ReadMatrix("w", kRows, kCols, DType::kF32).status(),
                StatusCode::kInvalidArgument, "scale 3 is inf");
  }
  {
    const Checkpoint checkpoint = OpenWith(dir_, Builder({1, 1}, {1, 2}));
    ExpectError(TensorReader(checkpoint, blocks).ReadMatrix("w", kRows, kCols, DType::kF32).status(),
                StatusCode::kInvalidArgument, "tensor w_scale_inv: shape [1,2], expected [2,2]");
  }
  {
    const Checkpoint checkpoint = OpenWith(dir_, SafetensorsBuilder().Add("w", "F8_E4M3", {1, 1}, "\x01"));
    ExpectError(TensorReader(checkpoint, blocks).ReadMatrix("w", 1, 1, DType::kF32).status(),
                StatusCode::kNotFound, "tensor w_scale_inv is missing");
  }
}

TEST_F(Fp8Test, ANaNWeightIsRefused) {
  const std::vector<float> one = {1.0f};
  const Checkpoint checkpoint = OpenWith(
      dir_, SafetensorsBuilder().Add("w", "F8_E4M3", {1, 2}, "\x01\xff").AddF32("w_scale_inv", {1, 1}, one));
  ExpectError(TensorReader(checkpoint, Fp8Blocks{2, 4}).ReadMatrix("w", 1, 2, DType::kF32).status(),
              StatusCode::kInvalidArgument, "a weight in row 0 is NaN");
}

}  // namespace
}  // namespace penstock
