// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint_identity.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::SafetensorsBuilder;
using testing::TempDir;

void WriteModel(const TempDir& dir, float last = 2, const std::string& config = "{}") {
  std::vector<float> values(20'000, 1);
  values.back() = last;
  dir.Write("model.safetensors", SafetensorsBuilder().AddF32("a", {20'000}, values).Text());
  dir.Write("config.json", config);
}

std::string Fingerprint(const TempDir& dir) { return CheckpointFingerprint(dir.path()).value(); }

void SetTimes(const TempDir& dir, std::chrono::hours ago) {
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    std::filesystem::last_write_time(entry.path(), std::filesystem::file_time_type::clock::now() - ago);
  }
}

TEST(CheckpointFingerprintTest, CopiesHaveTheSameWhateverTheirTimes) {
  TempDir one, two;
  WriteModel(one);
  WriteModel(two);
  SetTimes(one, std::chrono::hours(1));
  SetTimes(two, std::chrono::hours(50));
  EXPECT_EQ(Fingerprint(one), Fingerprint(two));
  EXPECT_NE(CheckpointIdentity(one.path()).value(), CheckpointIdentity(two.path()).value());
}

TEST(CheckpointFingerprintTest, WhatIsNotPartOfACheckpointDoesNotCount) {
  TempDir one, two;
  WriteModel(one);
  WriteModel(two);
  two.Write("README.md", "text");
  EXPECT_EQ(Fingerprint(one), Fingerprint(two));
}

TEST(CheckpointFingerprintTest, OtherWeightsOfTheSameSizesDiffer) {
  TempDir one, two;
  WriteModel(one);
  WriteModel(two, 3);
  EXPECT_NE(Fingerprint(one), Fingerprint(two));
}

TEST(CheckpointFingerprintTest, OtherDescriptionsNamesAndFilesDiffer) {
  TempDir one, config, name, more, index;
  WriteModel(one);
  WriteModel(config, 2, R"({"rope_theta": 1})");
  WriteModel(more);
  more.Write("more.safetensors", SafetensorsBuilder().AddF32("b", {1}, std::vector<float>{1}).Text());
  WriteModel(index);
  index.Write("model.safetensors.index.json", "{}");
  WriteModel(name);
  std::filesystem::rename(name.path() + "/model.safetensors", name.path() + "/other.safetensors");
  for (const TempDir* const other : {&config, &name, &more, &index}) {
    EXPECT_NE(Fingerprint(one), Fingerprint(*other)) << other->path();
  }
}

TEST(CheckpointFingerprintTest, SmallAndEmptyFilesHaveOne) {
  TempDir dir;
  dir.Write("model.safetensors", "");
  const std::string empty = Fingerprint(dir);
  dir.Write("model.safetensors", "x");
  EXPECT_NE(Fingerprint(dir), empty);
}

TEST(CheckpointFingerprintTest, NoCheckpointIsAnError) {
  TempDir dir;
  EXPECT_EQ(CheckpointFingerprint(dir.path()).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(CheckpointFingerprint(dir.path() + "/none").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace penstock
