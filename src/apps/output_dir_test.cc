// SPDX-License-Identifier: Apache-2.0
#include "apps/output_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

using testing::TempDir;

std::set<std::string> Names(const std::string& dir) {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) names.insert(entry.path().filename());
  return names;
}

TEST(OutputDir, IsThereWholeOrNotAtAll) {
  TempDir dir;
  {
    const OutputDir out = OutputDir::Create(dir.File("out")).value();
    EXPECT_EQ(out.partial_path(), dir.File("out.partial"));
    EXPECT_EQ(Names(dir.path()), std::set<std::string>{"out.partial"});
  }
  EXPECT_TRUE(Names(dir.path()).empty());  // an error on the way
  OutputDir out = OutputDir::Create(dir.File("out/")).value();
  ASSERT_TRUE(out.Commit().ok());
  EXPECT_EQ(Names(dir.path()), std::set<std::string>{"out"});
}

TEST(OutputDir, LeavesAloneWhatIsThere) {
  TempDir dir;
  std::filesystem::create_directory(dir.File("out"));
  EXPECT_EQ(OutputDir::Create(dir.File("out")).status().message(),
            dir.File("out") + ": it exists, expected the name of a new directory");
  dir.Write("other.partial", "");
  EXPECT_EQ(OutputDir::Create(dir.File("other")).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Names(dir.path()), (std::set<std::string>{"out", "other.partial"}));
  EXPECT_EQ(OutputDir::Create("/nowhere/out").status().message(),
            "/nowhere/out.partial: No such file or directory");
}

TEST(OutputDir, CopiesWhatBelongsToAModelBesideItsWeights) {
  TempDir from, to;
  const std::set<std::string> wanted = {"generation_config.json", "tokenizer.json",
                                        "chat_template.jinja",    "vocab.txt",
                                        "tokenizer.model",        "LICENSE"};
  for (const std::string& name : wanted) from.Write(name, name);
  for (const char* name : {"config.json", "model.safetensors", "model.safetensors.index.json", "README.md",
                           "quant_model_description.json", "pytorch_model.bin", ".hidden.json"}) {
    from.Write(name, name);
  }
  ASSERT_TRUE(CopyModelFiles(from.path(), to.path()).ok());
  EXPECT_EQ(Names(to.path()), wanted);
}

}  // namespace
}  // namespace penstock
