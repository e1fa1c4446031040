// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_file.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "weights/checkpoint_identity.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::TempDir;

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Text(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class PackedFileTest : public ::testing::Test {
 protected:
  Status WriteSmall(const std::string& key = "k") {
    PackedFileWriter writer(path_, key);
    writer.Add("a", {.numbers = {1, -2}, .memory = {Bytes("first"), Bytes("second")}});
    writer.Add("b", {.numbers = {}, .memory = {Bytes("third")}});
    return writer.Finish();
  }

  // The message for the file with these bytes.
  std::string Refusal(const std::string& content) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << content;
    const Result<PackedFile> file = PackedFile::Open(path_, "k");
    EXPECT_FALSE(file.ok());
    return file.ok() ? "" : file.status().message();
  }

  TempDir dir_;
  const std::string path_ = dir_.File("new/dir/x.packed");
};

TEST_F(PackedFileTest, GivesBackWhatWasAdded) {
  ASSERT_TRUE(WriteSmall().ok());
  const Result<PackedFile> file = PackedFile::Open(path_, "k");
  ASSERT_TRUE(file.ok()) << file.status().message();
  const PackedImage* a = file->Find("a");
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(a->numbers, (std::vector<int64_t>{1, -2}));
  ASSERT_EQ(a->memory.size(), 2u);
  EXPECT_EQ(Text(a->memory[0]), "first");
  EXPECT_EQ(Text(a->memory[1]), "second");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(a->memory[1].data()) % 64, 0u);
  EXPECT_EQ(Text(file->Find("b")->memory[0]), "third");
  EXPECT_EQ(file->Find("c"), nullptr);
  file->mapping().Populate(file->mapping().bytes());
}

TEST_F(PackedFileTest, NothingIsThereUntilItIsWhole) {
  {
    PackedFileWriter writer(path_, "k");
    writer.Add("a", {.numbers = {}, .memory = {Bytes("x")}});
    EXPECT_EQ(PackedFile::Open(path_, "k").status().code(), StatusCode::kNotFound);
  }  // never finished
  EXPECT_TRUE(std::filesystem::is_empty(dir_.File("new/dir")));
}

TEST_F(PackedFileTest, TwoWritersAtOnceAreOne) {
  PackedFileWriter first(path_, "k");
  {
    PackedFileWriter second(path_, "k");
    second.Add("a", {.numbers = {}, .memory = {Bytes("wrong")}});
    EXPECT_EQ(second.Finish().code(), StatusCode::kUnavailable);
  }
  first.Add("a", {.numbers = {}, .memory = {Bytes("right")}});
  ASSERT_TRUE(first.Finish().ok());
  EXPECT_EQ(Text(PackedFile::Open(path_, "k")->Find("a")->memory[0]), "right");
}

TEST_F(PackedFileTest, WhatAKilledProcessLeftIsOverwritten) {
  std::filesystem::create_directories(dir_.File("new/dir"));
  dir_.Write("new/dir/x.packed.part", std::string(100000, 'x'));
  ASSERT_TRUE(WriteSmall().ok());
  EXPECT_TRUE(PackedFile::Open(path_, "k").ok());
  EXPECT_LT(std::filesystem::file_size(path_), 100000u);
  EXPECT_FALSE(std::filesystem::exists(path_ + ".part"));
}

TEST_F(PackedFileTest, ReplacesAnOlderOneWhichStaysMapped) {
  ASSERT_TRUE(WriteSmall("old").ok());
  const Result<PackedFile> old = PackedFile::Open(path_, "old");
  ASSERT_TRUE(WriteSmall("k").ok());
  EXPECT_TRUE(PackedFile::Open(path_, "k").ok());
  EXPECT_EQ(Text(old->Find("b")->memory[0]), "third");
}

TEST_F(PackedFileTest, AnotherKeyIsRefused) {
  ASSERT_TRUE(WriteSmall("other").ok());
  const Status status = PackedFile::Open(path_, "k").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("made of \"other\", expected \"k\""), std::string::npos)
      << status.message();
}

TEST_F(PackedFileTest, DamageIsRefused) {
  ASSERT_TRUE(WriteSmall().ok());
  const std::string good = ReadAll(path_);
  EXPECT_NE(Refusal("").find("empty"), std::string::npos);
  EXPECT_NE(Refusal(good.substr(0, 40)).find("truncated"), std::string::npos);
  EXPECT_NE(Refusal(good.substr(0, good.size() - 1)).find("bytes, expected"), std::string::npos);
  EXPECT_NE(Refusal("PNSTKPCX" + good.substr(8)).find("not a packed file"), std::string::npos);
  for (size_t at = 8; at < 64; ++at) {  // any bit of the header
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_NE(Refusal(bad).find("damaged"), std::string::npos) << at;
  }
  std::string bad = good;
  bad[good.size() - 3] = static_cast<char>(bad[good.size() - 3] ^ 1);
  EXPECT_NE(Refusal(bad).find("index is damaged"), std::string::npos);
}

TEST_F(PackedFileTest, WhatCannotBeKeptOrWrittenIsAnError) {
  PackedFileWriter writer(path_, "k");
  writer.Add("a", {});
  writer.Add("b", {.numbers = {}, .memory = {Bytes("x")}});
  EXPECT_EQ(writer.Finish().code(), StatusCode::kUnimplemented);
  dir_.Write("file", "x");
  PackedFileWriter nowhere(dir_.File("file/x.packed"), "k");
  nowhere.Add("b", {.numbers = {}, .memory = {Bytes("x")}});
  EXPECT_EQ(nowhere.Finish().code(), StatusCode::kInternal);
}

TEST(CheckpointIdentity, IsOfTheFilesAndNotOfTheirPlace) {
  TempDir a, b;
  EXPECT_EQ(CheckpointIdentity(a.path()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(CheckpointIdentity(a.File("no")).status().code(), StatusCode::kNotFound);
  a.Write("config.json", "{}");
  a.Write("model.safetensors", testing::SafetensorsText("{}", ""));
  const std::string identity = CheckpointIdentity(a.path()).value();
  std::filesystem::copy(a.path(), b.path());
  for (const char* name : {"config.json", "model.safetensors"}) {
    std::filesystem::last_write_time(b.File(name), std::filesystem::last_write_time(a.File(name)));
  }
  EXPECT_EQ(CheckpointIdentity(b.path()).value(), identity);
  b.Write("tokenizer.json", "{}");
  EXPECT_EQ(CheckpointIdentity(b.path()).value(), identity);
  b.Write("config.json", "{ }");
  EXPECT_NE(CheckpointIdentity(b.path()).value(), identity);
  b.Write("config.json", "{}");
  EXPECT_EQ(CheckpointIdentity(b.path()).value(), identity);
  b.Write("quant_model_description.json", "{}");
  EXPECT_NE(CheckpointIdentity(b.path()).value(), identity);
  const std::string weights = a.File("model.safetensors");
  std::filesystem::last_write_time(weights,
                                   std::filesystem::last_write_time(weights) + std::chrono::seconds(1));
  EXPECT_NE(CheckpointIdentity(a.path()).value(), identity);
}

}  // namespace
}  // namespace penstock
