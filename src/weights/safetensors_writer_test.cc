// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors_writer.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "weights/checkpoint.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::TempDir;

std::string Fill(const TensorHeader& tensor) { return std::string(tensor.bytes, tensor.name[0]); }

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// Sizes that leave what follows on odd addresses, unless wide numbers come first.
const std::vector<TensorHeader> kTensors = {{"a", "I8", {3, 5}, 15},
                                            {"b", "BF16", {3}, 6},
                                            {"c", "I64", {2}, 16},
                                            {"d", "F32", {1}, 4},
                                            {"e", "I8", {0, 4}, 0}};

Status WriteAll(SafetensorsWriter& writer, std::vector<TensorHeader> tensors) {
  std::ranges::reverse(tensors);  // the order is the caller's choice
  for (const TensorHeader& tensor : tensors) {
    const std::string data = Fill(tensor);
    RETURN_IF_ERROR(writer.Write(tensor.name, Bytes(data)));
  }
  return writer.Finish();
}

void ExpectAll(const std::string& dir) {
  const Checkpoint checkpoint = Checkpoint::Open(dir).value();
  EXPECT_EQ(checkpoint.Names().size(), kTensors.size());
  for (const TensorHeader& tensor : kTensors) {
    SCOPED_TRACE(tensor.name);
    const TensorRef ref = checkpoint.Find(tensor.name).value();
    EXPECT_EQ(ref.info->dtype_name, tensor.dtype_name);
    EXPECT_EQ(ref.info->shape, tensor.shape);
    const std::string expected = Fill(tensor);
    EXPECT_TRUE(std::ranges::equal(ref.bytes(), Bytes(expected)));
    if (ref.info->dtype) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(ref.bytes().data()) % DTypeBytes(*ref.info->dtype), 0u);
    }
  }
}

TEST(SafetensorsWriter, OneFileThatIsReadBackAligned) {
  TempDir dir;
  SafetensorsWriter writer(dir.path(), "stem", kTensors, 1000);
  ASSERT_TRUE(WriteAll(writer, kTensors).ok());
  EXPECT_TRUE(std::filesystem::exists(dir.File("stem.safetensors")));
  EXPECT_FALSE(std::filesystem::exists(dir.File("stem.safetensors.index.json")));
  ExpectAll(dir.path());
}

TEST(SafetensorsWriter, FilesOfBoundedSizeWithAnIndex) {
  TempDir dir;
  SafetensorsWriter writer(dir.path(), "stem", kTensors, 20);
  ASSERT_TRUE(WriteAll(writer, kTensors).ok());
  ExpectAll(dir.path());
  const Json index = ReadJsonFile(dir.File("stem.safetensors.index.json")).value();
  EXPECT_EQ(index["metadata"]["total_size"], 41);
  EXPECT_EQ(index["weight_map"]["a"], "stem-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["b"], "stem-00002-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "stem-00003-of-00003.safetensors");
}

TEST(SafetensorsWriter, AFullDiskIsNamed) {
  TempDir dir;
  std::filesystem::create_symlink("/dev/full", dir.File("stem.safetensors"));
  SafetensorsWriter writer(dir.path(), "stem", kTensors, 1000);
  const Status status = WriteAll(writer, kTensors);
  EXPECT_EQ(status.message(), dir.File("stem.safetensors") + ": No space left on device");
}

TEST(SafetensorsWriter, ADirectoryThatIsNotThere) {
  SafetensorsWriter writer("/nowhere", "stem", kTensors, 1000);
  EXPECT_EQ(WriteAll(writer, kTensors).message(), "/nowhere/stem.safetensors: No such file or directory");
}

}  // namespace
}  // namespace penstock
