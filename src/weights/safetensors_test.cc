// A corpus of broken files: each gives an error that names the thing, and none is read beyond its end.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <gtest/gtest.h>

#include <random>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::SafetensorsBuilder;
using testing::SafetensorsText;
using testing::TempDir;

const std::string kGood =
    R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})";
const std::string kGoodData(24, '\x01');

Result<SafetensorsFile> OpenText(const TempDir& dir, const std::string& text) {
  return SafetensorsFile::Open(dir.Write("model.safetensors", text));
}

TEST(SafetensorsTest, ReadsTheTableAndTheData) {
  TempDir dir;
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  SafetensorsBuilder builder;
  builder.AddF32("w", {2, 3}, values)
      .Add("s", "I64", {}, std::string(8, 'x'))
      .Add("empty", "BF16", {0, 4}, "");
  auto file = OpenText(dir, builder.Text());
  ASSERT_TRUE(file.ok()) << file.status().message();
  ASSERT_EQ(file->tensors().size(), 3u);
  const TensorInfo* info = file->Find("w");
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->dtype, DType::kF32);
  EXPECT_EQ(ShapeText(info->shape), "[2,3]");
  ASSERT_EQ(file->Bytes(*info).size(), 24u);
  EXPECT_EQ(0, std::memcmp(file->Bytes(*info).data(), values.data(), 24));
  EXPECT_EQ(file->Find("s")->shape.size(), 0u);
  EXPECT_EQ(file->Find("nothing"), nullptr);
}

TEST(SafetensorsTest, AcceptsTheHandWrittenHeaderThatTheCorpusIsMadeFrom) {
  TempDir dir;
  const auto file = OpenText(dir, SafetensorsText(kGood, kGoodData));
  EXPECT_TRUE(file.ok()) << file.status().message();
}

TEST(SafetensorsTest, TypesThatAreNotReadAreListed) {
  TempDir dir;
  auto file = OpenText(dir, SafetensorsText(R"({"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
                                            R"("b":{"dtype":"F6_E3M2","shape":[4],"data_offsets":[8,11]}})",
                                            std::string(11, 'x')));
  ASSERT_TRUE(file.ok()) << file.status().message();
  EXPECT_FALSE(file->Find("a")->dtype.has_value());
  EXPECT_EQ(file->Find("b")->dtype_name, "F6_E3M2");
}

struct BadHeader {
  const char* label;
  std::string header;
  std::string expected;  // a part of the message
  size_t data_bytes = 24;
};

std::string Tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::vector<BadHeader> BadHeaders() {
  const std::string b = R"("b":{"dtype":"BF16","shape":[4],"data_offsets":)";
  const std::string a = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)";
  return {
      {"not_json", R"({"a":)", "not JSON at byte"},
      {"two_documents", kGood + "{}", "not JSON at byte"},
      {"array", "[]", "does not begin with"},
      {"invalid_utf8", "{\"\xff\xfe\":1}", "not JSON at byte"},
      {"deep_nesting", std::string(100000, '['), "does not begin with"},
      {"deep_nesting_inside", "{\"a\":" + std::string(100000, '['), "tensor a: not an object"},
      {"entry_is_a_number", R"({"a":7})", "field"},
      {"metadata_is_nested", R"({"__metadata__":{"x":{"y":1}}})", "__metadata__"},
      {"metadata_is_a_list", R"({"__metadata__":[1]})", "__metadata__"},
      {"overlap", a + b + "[8,16]}}", "tensor b: overlaps", 16},
      {"hole", a + b + "[20,28]}}", "tensor b: 4 bytes before it", 28},
      {"hole_at_the_beginning", Tensor("F32", "[5]", "[4,24]"), "tensor a: 4 bytes before it"},
      {"data_left_over", kGood, "32 bytes of data, expected 24", 32},
      {"data_missing", kGood, "tensor b: bytes [16,24) of data that has 20", 20},
      {"no_data", kGood, "of data that has 0", 0},
      {"offsets_reversed", Tensor("F32", "[6]", "[24,0]"), "tensor a: bytes [24,0)"},
      {"offset_beyond_64_bits", Tensor("F32", "[6]", "[0,18446744073709551640]"),
       "tensor a: field data_offsets"},
      {"negative_offset", Tensor("F32", "[6]", "[-8,16]"), "tensor a: field data_offsets"},
      {"one_offset", Tensor("F32", "[6]", "[24]"), "tensor a: data_offsets are not two"},
      {"three_offsets", Tensor("F32", "[6]", "[0,24,24]"), "tensor a: data_offsets are not two"},
      {"shape_does_not_fit", Tensor("F32", "[7]", "[0,24]"), "tensor a: F32 [7] does not take 24"},
      {"shape_overflows", Tensor("F32", "[4611686018427387904,4]", "[0,24]"), "does not take 24"},
      {"shape_overflows_twice", Tensor("F32", "[6,4294967296,4294967296]", "[0,24]"), "does not take 24"},
      {"shape_is_negative", Tensor("F32", "[-6]", "[0,24]"), "tensor a: field shape"},
      {"shape_is_a_fraction", Tensor("F32", "[6.0]", "[0,24]"), "tensor a: field shape"},
      {"shape_is_nested", Tensor("F32", "[[6]]", "[0,24]"), "tensor a: field shape"},
      {"shape_is_a_string", Tensor("F32", R"("6")", "[0,24]"), "tensor a: field shape"},
      {"wrong_dtype_size", Tensor("BF16", "[6]", "[0,24]"), "tensor a: BF16 [6] does not take 24"},
      {"dtype_is_a_number", R"({"a":{"dtype":1,"shape":[6],"data_offsets":[0,24]}})",
       "tensor a: field dtype"},
      {"dtype_is_missing", R"({"a":{"shape":[6],"data_offsets":[0,24]}})", "is missing"},
      {"unknown_field", R"({"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24],"x":1}})", "unknown field"},
      {"field_twice", R"({"a":{"dtype":"F32","dtype":"F32","shape":[6],"data_offsets":[0,24]}})",
       "dtype twice"},
      {"tensor_twice", a + R"("a":{"dtype":"BF16","shape":[4],"data_offsets":[16,24]}})",
       "tensor a: listed twice"},
      {"name_not_ascii", "{\"\xc3\xa9\":{}}", "not ASCII"},
      {"name_with_a_control_character", R"({"a\n":{}})", "not ASCII"},
      {"name_empty", R"({"":{}})", "empty or not ASCII"},
  };
}

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefusedByName) {
  TempDir dir;
  const auto file =
      OpenText(dir, SafetensorsText(GetParam().header, std::string(GetParam().data_bytes, '\0')));
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), StatusCode::kInvalidArgument);
  EXPECT_NE(file.status().message().find(GetParam().expected), std::string::npos) << file.status().message();
  EXPECT_NE(file.status().message().find("model.safetensors"), std::string::npos) << file.status().message();
}

INSTANTIATE_TEST_SUITE_P(Corpus, BadHeaderTest, ::testing::ValuesIn(BadHeaders()),
                         [](const auto& info) { return info.param.label; });

struct BadFile {
  const char* label;
  std::string text;
  std::string expected;
};

std::string HeaderLength(uint64_t length) { return testing::BytesOf(&length, 8); }

std::vector<BadFile> BadFiles() {
  return {
      {"empty", "", "the file is empty"},
      {"seven_bytes", "1234567", "truncated: 8 bytes wanted"},
      {"header_longer_than_file", HeaderLength(1000) + kGood, "truncated: 1000 bytes wanted"},
      {"header_too_long", HeaderLength(100'000'001) + kGood, "at most 100000000"},
      {"header_length_all_ones", HeaderLength(~uint64_t{0}) + kGood, "header of 18446744073709551615"},
      {"header_length_zero", HeaderLength(0), "does not begin with"},
      {"gguf", "GGUF" + std::string(100, '\0'), "a GGUF file"},
      {"torch_zip", "PK\x03\x04" + std::string(100, '\0'), "PyTorch pickle"},
      {"pickle", "\x80\x02}q" + std::string(100, '\0'), "a Python pickle"},
      {"lfs_pointer", "version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"},
  };
}

class BadFileTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadFileTest, IsRefused) {
  TempDir dir;
  const auto file = OpenText(dir, GetParam().text);
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.status().message().find(GetParam().expected), std::string::npos) << file.status().message();
}

INSTANTIATE_TEST_SUITE_P(Corpus, BadFileTest, ::testing::ValuesIn(BadFiles()),
                         [](const auto& info) { return info.param.label; });

TEST(SafetensorsTest, FilesThatAreNotThere) {
  TempDir dir;
  EXPECT_EQ(SafetensorsFile::Open(dir.File("none")).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::Open(dir.path()).status().code(), StatusCode::kInvalidArgument);
}

TEST(SafetensorsTest, EveryTruncationIsRefused) {
  TempDir dir;
  const std::string whole = SafetensorsText(kGood, kGoodData);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(OpenText(dir, whole.substr(0, size)).ok()) << size;
  }
}

// Random damage never crashes, and what is accepted keeps the promise that every tensor lies inside the data.
TEST(SafetensorsTest, RandomDamageNeverLeadsOutside) {
  std::mt19937 random(7);
  const std::string alphabet = "{}[]\",:0123456789ab\\u- eE.";
  int accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string header = kGood;
    for (int edit = 0; edit <= round % 3; ++edit) {
      header[random() % header.size()] = alphabet[random() % alphabet.size()];
    }
    const auto tensors = ParseSafetensorsHeader(header, kGoodData.size());
    if (!tensors.ok()) continue;
    ++accepted;
    uint64_t end = 0;
    for (const TensorInfo& tensor : *tensors) {
      EXPECT_EQ(tensor.begin, end);
      end = tensor.end;
    }
    EXPECT_EQ(end, kGoodData.size());
  }
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace penstock
