// A model that is mapped from the cache of packed weights computes the same to the bit, and nothing that is
// wrong with the cache keeps a model from being loaded.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/packed_cache.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "model/expert_placement.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/staged_model.h"
#include "model/testing/tiny_models.h"
#include "model/testing/tiny_w8a8.h"

namespace penstock {
namespace {

using testing::StagedModel;
using testing::TempDir;
using testing::TestKernels;

constexpr int kNumStages = 2;
constexpr LayerRange kFirstHalf = {0, 2, true, false};
using Logits = std::vector<std::vector<float>>;

struct Case {
  std::string family;
  std::string form;  // of the weights: bf16, f32, int8 (static, experts dynamic), at_load (int8 made at load)
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const std::string& family : testing::Families()) {
    for (const char* form : {"bf16", "f32", "int8", "at_load"}) cases.push_back({family, form});
  }
  return cases;
}

class PackedCacheTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override { WriteModel(GetParam()); }

  void WriteModel(const Case& model) {
    const ModelConfig config = testing::WriteTinyModel(model_dir_, testing::TinyConfig(model.family), true);
    if (model.form == "int8") {
      testing::TinyW8A8(config, testing::Types(WeightType::kW8A8, WeightType::kW8A8Dynamic))
          .Write(model_dir_);
    }
    config_ = ReadModelConfig(model_dir_.path(), model.form == "at_load" ? "w8a8-dynamic" : "").value();
    options_.dtype = model.form == "f32" ? DType::kF32 : DType::kBF16;
  }

  // Of a model that is loaded anew. `weight_bytes` becomes the memory that its first stage says it has.
  Logits Run(const PackedCache& cache, size_t* weight_bytes = nullptr) {
    TestKernels kernels("auto");
    StagedModel model(model_dir_.path(), config_, kNumStages, options_, *kernels.kernels, cache);
    if (weight_bytes != nullptr) *weight_bytes = model.stage(0).memory().weight_bytes;
    testing::TestSequence sequence = model.NewSequence({5, 17, 3, 90, 41, 8, 22});
    return model.RunChunks(sequence, {5, 2});
  }

  std::vector<std::filesystem::path> Files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(cache_dir_.path()))
      files.push_back(entry.path());
    return files;
  }

  PackedCacheEntry Entry(const PackedCache& cache, const LayerRange& range = kFirstHalf,
                         DType dtype = DType::kBF16, const std::string& isa = "auto") const {
    const TestKernels kernels(isa);
    return FindPackedCacheEntry(cache, model_dir_.path(), config_, range, dtype, *kernels.kernels).value();
  }

  // Whether the cache has what this entry asks for.
  static bool Has(const PackedCacheEntry& entry) { return PackedFile::Open(entry.path, entry.key).ok(); }

  // The numbers of the checkpoint become zeros; its header, size and time stay as they are.
  void EraseTensors() const {
    const std::string path = model_dir_.File("model.safetensors");
    const auto time = std::filesystem::last_write_time(path);
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    uint64_t header_bytes = 0;
    file.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
    const uint64_t data_begin = sizeof(header_bytes) + header_bytes;
    file.seekp(static_cast<std::streamoff>(data_begin));
    file << std::string(std::filesystem::file_size(path) - data_begin, '\0');
    file.close();
    std::filesystem::last_write_time(path, time);
  }

  TempDir model_dir_, cache_dir_;
  ModelConfig config_;
  ModelOptions options_ = {.dtype = DType::kBF16,
                           .block_size = 16,
                           .max_batched_tokens = 32,
                           .max_model_len = 64,
                           .max_logit_rows = 32};
  const PackedCache cache_ = {cache_dir_.path(), "build 1"};
};

INSTANTIATE_TEST_SUITE_P(Models, PackedCacheTest, ::testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param.family + "_" + info.param.form; });

TEST_P(PackedCacheTest, TheSecondStartReadsNoTensorAndComputesTheSame) {
  size_t plain_bytes = 0, mapped_bytes = 0;
  const Logits plain = Run({}, &plain_bytes);
  EXPECT_EQ(Run(cache_), plain);
  ASSERT_EQ(Files().size(), size_t{kNumStages});
  const auto written = std::filesystem::last_write_time(Files()[0]);

  EraseTensors();
  EXPECT_EQ(Run(cache_, &mapped_bytes), plain);
  EXPECT_EQ(mapped_bytes, plain_bytes);
  EXPECT_EQ(std::filesystem::last_write_time(Files()[0]), written);
  if (GetParam().form == "int8") return;  // static scales of 0 do not load
  EXPECT_NE(Run({}), plain);              // so they are erased indeed
}

// What can go wrong, with one model.
class PackedCacheFailureTest : public PackedCacheTest {
 protected:
  void SetUp() override {
    WriteModel({"qwen3_moe", "bf16"});
    plain_ = Run({});
  }
  Logits plain_;
};

INSTANTIATE_TEST_SUITE_P(One, PackedCacheFailureTest, ::testing::Values(Case{}));

TEST_P(PackedCacheFailureTest, AFileOfAnythingElseIsNotUsed) {
  Run(cache_);
  ASSERT_TRUE(Has(Entry(cache_)));
  EXPECT_FALSE(Has(Entry(cache_, {0, 3, true, false})));
  EXPECT_FALSE(Has(Entry(cache_, {0, 2, true, true})));
  EXPECT_FALSE(Has(Entry(cache_, kFirstHalf, DType::kF32)));
  if (UsableCpuIsas().front() != "generic") {
    EXPECT_FALSE(Has(Entry(cache_, kFirstHalf, DType::kBF16, "generic")));
  }

  const ModelConfig as_stored = config_;
  config_ = ReadModelConfig(model_dir_.path(), "w8a8-dynamic").value();
  EXPECT_FALSE(Has(Entry(cache_)));
  config_ = as_stored;

  std::ofstream(model_dir_.File("config.json"), std::ios::app) << " ";
  EXPECT_FALSE(Has(Entry(cache_)));
  WriteModel({"qwen3_moe", "bf16"});  // the same again, later
  EXPECT_FALSE(Has(Entry(cache_)));
}

TEST_P(PackedCacheFailureTest, AFileOfAnotherBuildIsReplaced) {
  const PackedCache rebuilt{cache_dir_.path(), "build 2"};
  Run(cache_);
  EXPECT_FALSE(Has(Entry(rebuilt)));
  EXPECT_EQ(Run(rebuilt), plain_);
  EXPECT_TRUE(Has(Entry(rebuilt)));
  EXPECT_EQ(Files().size(), size_t{kNumStages});
}

TEST_P(PackedCacheFailureTest, ADamagedFileIsReplaced) {
  Run(cache_);
  const PackedCacheEntry entry = Entry(cache_);
  std::filesystem::resize_file(entry.path, std::filesystem::file_size(entry.path) - 1);
  EXPECT_EQ(Run(cache_), plain_);
  EXPECT_TRUE(Has(entry));

  std::ofstream(entry.path, std::ios::trunc) << "nothing of ours";
  EXPECT_EQ(Run(cache_), plain_);
  EXPECT_TRUE(Has(entry));

  PackedFileWriter other(entry.path, entry.key);  // whole, but without the weights
  ASSERT_TRUE(other.Finish().ok());
  EXPECT_EQ(Run(cache_), plain_);
  EXPECT_NE(PackedFile::Open(entry.path, entry.key)->Find("model.layers.0.mlp.gate.weight"), nullptr);
}

TEST_P(PackedCacheFailureTest, AMatrixThatIsNotWhatItSaysIsRefused) {
  const TestKernels kernels("auto");
  alignas(64) const std::byte bytes[64] = {};
  const auto attach = [&](std::vector<int64_t> numbers) {
    return kernels.kernels->AttachMat({std::move(numbers), {bytes}});
  };
  EXPECT_EQ(attach({}), nullptr);
  EXPECT_EQ(attach({64, 64, static_cast<int64_t>(DType::kBF16), 0, 0}), nullptr);
  EXPECT_EQ(attach({0, 0, static_cast<int64_t>(DType::kBF16), 0, 0}), nullptr);
  EXPECT_EQ(attach({1, 1, static_cast<int64_t>(DType::kI64), 0, 0}), nullptr);
  EXPECT_EQ(kernels.kernels->AttachKvB({{1}, {bytes}}, {}), nullptr);
}

TEST_P(PackedCacheFailureTest, APlaceThatCannotBeWrittenIsNoError) {
  EXPECT_EQ(Run({model_dir_.File("config.json"), "build 1"}), plain_);
  EXPECT_EQ(Run({"/proc/none", "build 1"}), plain_);
}

TEST_P(PackedCacheFailureTest, AFullDiskIsNoErrorAndGetsItsRoomBack) {
  signal(SIGXFSZ, SIG_IGN);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small = {20000, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const Logits logits = Run(cache_);
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(logits, plain_);
  EXPECT_TRUE(Files().empty());
}

TEST_P(PackedCacheFailureTest, ManyStartsAtOnceComputeTheSame) {
  std::vector<Logits> logits(4);
  std::vector<std::thread> starts;
  for (Logits& of_one : logits) starts.emplace_back([&] { of_one = Run(cache_); });
  for (std::thread& start : starts) start.join();
  for (const Logits& of_one : logits) EXPECT_EQ(of_one, plain_);
  EXPECT_TRUE(Has(Entry(cache_)));
  EXPECT_EQ(Files().size(), size_t{kNumStages});
}

// Which experts a rank has is part of what its weights depend on; which ones others have is not.
TEST(PackedCache, ExpertsOfAnotherPlacementAreAnotherEntry) {
  const TempDir dir;
  const ModelConfig config = testing::WriteTinyModel(dir, testing::TinyConfig("qwen3_moe"));
  const TestKernels kernels("auto");
  const auto key = [&](const ExpertPlacement* experts) {
    LayerRange range = kFirstHalf;
    range.share = {.ep_rank = 0, .ep_size = 3, .experts = experts};
    return FindPackedCacheEntry({dir.path(), "b"}, dir.path(), config, range, DType::kBF16, *kernels.kernels)
        ->key;
  };
  const auto place = [](ExpertPlacement::LayerSlots slots) {
    return ExpertPlacement::FromSlots({std::move(slots)}, 8, 3).value();
  };
  const auto one = place({{0, 1, 2}, {3, 4, 5}, {6, 7}}), same = place({{0, 1, 2}, {6, 7}, {3, 4, 5}}),
             other = place({{0, 1, 3}, {2, 4, 5}, {6, 7}});
  EXPECT_EQ(key(&one), key(&same));
  EXPECT_NE(key(&one), key(&other));
  EXPECT_NE(key(&one), key(nullptr));
}

TEST(PackedCache, KernelsThatCannotAttachAreToldApart) {
  const auto kernels = MakeRefKernels();
  const auto entry = FindPackedCacheEntry({"d", "b"}, "m", {}, {}, DType::kBF16, *kernels);
  EXPECT_EQ(entry.status().code(), StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace penstock
