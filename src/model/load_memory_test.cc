// While a checkpoint is read, memory never holds it twice: the pages of what is packed are let go.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "model/model.h"
#include "model/testing/kernel_cases.h"
#include "model/testing/tiny_models.h"

namespace penstock {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// A line of /proc/self/status in bytes, such as "VmHWM": the most memory that was ever resident.
size_t StatusBytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key + ":")) return std::stoull(line.substr(key.size() + 1)) * 1024;
  }
  return 0;
}

// A checkpoint of zeros, which takes no room on the disk, with projections as 8-bit integers where `is_int8`.
// Gives back the size of its largest tensor.
size_t WriteZeros(const testing::TempDir& dir, const ModelConfig& config, bool is_int8 = false) {
  Json header, description;
  size_t end = 0, largest = 0;
  const auto add = [&](const std::string& name, const char* dtype, size_t bytes,
                       const std::vector<int64_t>& shape) {
    for (const int64_t dim : shape) bytes *= static_cast<size_t>(dim);
    header[name] = {{"dtype", dtype}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
    largest = std::max(largest, bytes);
  };
  const TensorTable table = MakeTensorTable(*FindArchitecture(config.architecture), config);
  for (const TensorSpec& spec : table.specs()) {
    if (spec.optional) continue;
    if (is_int8 && spec.projection != Projection::kNone) {
      add(spec.name, "I8", 1, spec.shape);
      add(spec.name + "_scale", "F32", 4, {spec.shape[0], 1});
      description[spec.name] = "W8A8_DYNAMIC";
    } else {
      add(spec.name, "BF16", 2, spec.shape);
    }
  }
  if (is_int8) dir.Write("quant_model_description.json", description.dump());
  const std::string text = testing::SafetensorsText(header.dump(), "");
  std::filesystem::resize_file(dir.Write("model.safetensors", text), text.size() + end);
  return largest;
}

struct Measured {
  size_t before_bytes = 0;  // resident before loading
  size_t peak_bytes = 0;    // at most while loading
  size_t weight_bytes = 0;
};

// Loads in a process of its own, whose peak is not that of the tests before.
Measured LoadInChild(const std::string& dir, const ModelConfig& config) {
  int ends[2];
  CHECK_EQ(pipe(ends), 0);
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) {
    testing::TestKernels kernels("auto");
    Measured measured;
    measured.before_bytes = StatusBytes("VmRSS");
    const ModelOptions options = {.dtype = DType::kBF16, .max_batched_tokens = 16, .max_model_len = 64};
    const auto model = LoadModel(dir, config, {0, config.num_layers, true, true}, options, *kernels.kernels);
    measured.peak_bytes = StatusBytes("VmHWM");
    measured.weight_bytes = model.value()->memory().weight_bytes;
    _exit(write(ends[1], &measured, sizeof(measured)) == sizeof(measured) ? 0 : 1);
  }
  Measured measured;
  close(ends[1]);
  CHECK_EQ(read(ends[0], &measured, sizeof(measured)), static_cast<ssize_t>(sizeof(measured)));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_EQ(status, 0);
  return measured;
}

// Llama with 250 MiB of bf16 weights.
ModelConfig WriteConfig(const testing::TempDir& dir) {
  dir.Write("config.json", R"({
    "architectures": ["LlamaForCausalLM"], "hidden_size": 1024, "intermediate_size": 2816,
    "max_position_embeddings": 4096, "num_attention_heads": 16, "num_hidden_layers": 10, "vocab_size": 1000})");
  return ReadModelConfig(dir.path()).value();
}

class LoadMemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "a sanitizer's own memory hides what is measured";
#endif
  }
};

TEST_F(LoadMemoryTest, ThePeakIsTheWeightsAndOneTensor) {
  testing::TempDir dir;
  const ModelConfig config = WriteConfig(dir);
  const size_t largest_tensor = WriteZeros(dir, config);
  const size_t file_bytes = std::filesystem::file_size(dir.File("model.safetensors"));
  ASSERT_GT(file_bytes, 190 * kMiB);

  const Measured measured = LoadInChild(dir.path(), config);
  EXPECT_NEAR(static_cast<double>(measured.weight_bytes), static_cast<double>(file_bytes), 0.1 * file_bytes);
  // What is packed as one (q, k and v; gate and up) counts as one tensor: three at most.
  EXPECT_LE(measured.peak_bytes - measured.before_bytes,
            measured.weight_bytes + 3 * largest_tensor + 16 * kMiB);
}

// 8-bit weights are never anything wider, stored so or made so.
TEST_F(LoadMemoryTest, ThePeakOfInt8WeightsIsATenthAboveThem) {
  testing::TempDir bf16_dir, int8_dir;
  const ModelConfig config = WriteConfig(bf16_dir);
  WriteConfig(int8_dir);
  WriteZeros(bf16_dir, config);
  WriteZeros(int8_dir, config, /*is_int8=*/true);
  const size_t bf16_bytes = std::filesystem::file_size(bf16_dir.File("model.safetensors"));
  struct {
    const testing::TempDir& dir;
    const char* quantization;
  } const cases[] = {{int8_dir, "ascend"}, {bf16_dir, "w8a8-dynamic"}};
  for (const auto& [dir, quantization] : cases) {
    SCOPED_TRACE(quantization);
    const Measured measured = LoadInChild(dir.path(), ReadModelConfig(dir.path(), quantization).value());
    EXPECT_LE(measured.weight_bytes, 0.56 * bf16_bytes);
    const double over =
        static_cast<double>(measured.peak_bytes - measured.before_bytes) / measured.weight_bytes;
    EXPECT_LE(over, 1.1);
    RecordProperty(std::string("peak_over_weights_") + (quantization[0] == 'a' ? "stored" : "at_load"),
                   std::to_string(over));
  }
}

}  // namespace
}  // namespace penstock
