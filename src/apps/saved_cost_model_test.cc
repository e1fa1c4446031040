// SPDX-License-Identifier: Apache-2.0
#include "apps/saved_cost_model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/testing/small_plan.h"
#include "base/json.h"
#include "weights/testing/safetensors_builder.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

const SavedCostModel kSaved = {
    .model = {{{.step_us = 10, .token_us = 2.5}, {.step_us = 11, .pair_us = 0.125}}},
    .quality = {.median_error = 0.01, .p90_error = 0.05, .num_samples = 30}};

class SavedCostModelTest : public ::testing::Test {
 protected:
  SavedCostModelTest() {
    model_.Write("config.json", "{}");
    model_.Write("model.safetensors", "abc");
    run_ = SmallRun(model_.path());
    run_.cache_dir = cache_.path() + "/some/where";
    key_ = MakeCostModelKey(run_, SmallPlan());
    path_ = CostModelPath(run_, key_);
  }
  void WriteFile(const std::string& text) const {
    fs::create_directories(run_.cache_dir);
    std::ofstream(path_) << text;
  }

  TempDir model_, cache_;
  RunConfig run_;
  CostModelKey key_;
  std::string path_;
};

TEST_F(SavedCostModelTest, IsThereAgain) {
  ASSERT_TRUE(SaveCostModel(path_, key_, kSaved).ok());
  const LoadedCostModel loaded = LoadCostModel(path_, key_);
  ASSERT_TRUE(loaded.saved.has_value()) << loaded.why_not;
  EXPECT_EQ(loaded.saved->model, kSaved.model);
  EXPECT_EQ(loaded.saved->quality.num_samples, 30);
  // Over what was there, and nothing is left behind.
  ASSERT_TRUE(SaveCostModel(path_, key_, kSaved).ok());
  EXPECT_EQ(std::distance(fs::directory_iterator(run_.cache_dir), fs::directory_iterator()), 1);
}

TEST_F(SavedCostModelTest, NoFileIsNoNews) {
  EXPECT_FALSE(LoadCostModel(path_, key_).saved.has_value());
  EXPECT_EQ(LoadCostModel(path_, key_).why_not, "");
  EXPECT_EQ(LoadCostModel("", key_).why_not, "");
}

TEST_F(SavedCostModelTest, AnotherKeyIsRefusedByName) {
  ASSERT_TRUE(SaveCostModel(path_, key_, kSaved).ok());
  const auto why_not = [&](auto change) {
    CostModelKey other = key_;
    change(other);
    const LoadedCostModel loaded = LoadCostModel(path_, other);
    EXPECT_FALSE(loaded.saved.has_value());
    EXPECT_TRUE(loaded.why_not.starts_with("The saved cost model " + path_ + " is not used: "))
        << loaded.why_not;
    EXPECT_EQ(loaded.why_not.find('\n'), std::string::npos);
    return loaded.why_not;
  };
  EXPECT_NE(why_not([](CostModelKey& key) { key.dtype = "float32"; }).find("dtype"), std::string::npos);
  EXPECT_NE(why_not([](CostModelKey& key) { key.build = "0.2.0"; }).find("build"), std::string::npos);
  EXPECT_NE(why_not([](CostModelKey& key) { key.threads_per_rank = 7; }).find("threads_per_rank"),
            std::string::npos);
}

TEST_F(SavedCostModelTest, WhateverElseIsInTheFile) {
  ASSERT_TRUE(SaveCostModel(path_, key_, kSaved).ok());
  const std::string good = *ReadTextFile(path_);
  for (const std::string& bad :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("{\"a\": 1}"),
        std::string(100, '['), std::string("\0\xff\xfe", 3), good.substr(0, good.size() / 2)}) {
    WriteFile(bad);
    const LoadedCostModel loaded = LoadCostModel(path_, key_);
    EXPECT_FALSE(loaded.saved.has_value()) << bad;
    EXPECT_NE(loaded.why_not, "") << bad;
  }
  // Numbers that no stage can have.
  for (const char* number : {"-1.0", "1e999", "\"2\"", "null"}) {
    std::string text = good;
    const size_t at = text.find("2.5");
    ASSERT_NE(at, std::string::npos);
    WriteFile(text.replace(at, 3, number));
    EXPECT_FALSE(LoadCostModel(path_, key_).saved.has_value()) << number;
  }
  WriteFile(std::string(2 << 20, ' '));
  EXPECT_NE(LoadCostModel(path_, key_).why_not.find("2097152 bytes"), std::string::npos);
  fs::remove(path_);
  fs::create_directories(path_);
  EXPECT_NE(LoadCostModel(path_, key_).why_not.find("not a file"), std::string::npos);
}

TEST_F(SavedCostModelTest, CannotBeWritten) {
  fs::create_directories(path_);
  const Status status = SaveCostModel(path_, key_, kSaved);
  EXPECT_EQ(status.code(), StatusCode::kInternal);
  EXPECT_NE(status.message().find(path_), std::string::npos);
  EXPECT_FALSE(SaveCostModel("/proc/none/file.json", key_, kSaved).ok());
}

TEST_F(SavedCostModelTest, KeyAndName) {
  EXPECT_TRUE(path_.starts_with(run_.cache_dir + "/"));
  EXPECT_EQ(MakeCostModelKey(run_, SmallPlan()), key_);
  const auto path_of = [&](const EnginePlan& plan) {
    return CostModelPath(run_, MakeCostModelKey(run_, plan));
  };
  EnginePlan plan = SmallPlan();
  plan.options.dtype = DType::kF32;
  EXPECT_NE(path_of(plan), path_);
  plan = SmallPlan();
  plan.kernels = "generic";
  EXPECT_NE(path_of(plan), path_);
  plan = SmallPlan();
  plan.ranges = {{0, 5, true, false}, {5, 8, false, true}};
  EXPECT_NE(path_of(plan), path_);
  plan = SmallPlan();
  plan.cores = {{0, 1}, {2, 3}};
  EXPECT_NE(path_of(plan), path_);
  EXPECT_NE(path_of(SmallPlan(2, 2)), path_);
  EXPECT_EQ(MakeCostModelKey(run_, SmallPlan(2, 2)).layer_partition, key_.layer_partition);
  plan = SmallPlan();
  plan.layout = {.pp = 2, .pcp = 2};
  plan.ranges.insert(plan.ranges.end(), 2, plan.ranges[1]);
  EXPECT_NE(path_of(plan), path_);
  // A new build takes the place of the old one.
  CostModelKey other_build = key_;
  other_build.build = "another";
  EXPECT_EQ(CostModelPath(run_, other_build), path_);
  // Other weights of the same shape are another model only if their size or config differs.
  model_.Write("model.safetensors", "abcd");
  EXPECT_NE(path_of(SmallPlan()), path_);
  model_.Write("model.safetensors", "xyz");
  EXPECT_EQ(path_of(SmallPlan()), path_);
  model_.Write("config.json", "{\"a\": 1}");
  EXPECT_NE(path_of(SmallPlan()), path_);

  run_.cost_model_file = "mine.json";
  EXPECT_EQ(CostModelPath(run_, key_), "mine.json");
  run_.cost_model_file.clear();
  run_.cache_dir.clear();
  EXPECT_EQ(CostModelPath(run_, key_), "");
}

}  // namespace
}  // namespace penstock
