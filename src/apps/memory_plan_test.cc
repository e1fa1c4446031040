// SPDX-License-Identifier: Apache-2.0
#include "apps/memory_plan.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "apps/core_map.h"
#include "apps/host_memory.h"
#include "apps/progress.h"

namespace penstock {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// Two ranks: 300 MiB of weights, 100 of activations, 3 MiB for each block of both.
MemoryRequest SmallRequest() {
  MemoryRequest request;
  request.ranks = {{100 * kMiB, 40 * kMiB, 1 * kMiB}, {200 * kMiB, 60 * kMiB, 2 * kMiB}};
  request.free_bytes = 1000 * kMiB;
  request.utilization = 0.7;  // 700 MiB: 300 for 100 blocks
  request.block_size = 16;
  request.max_num_seqs = 4;
  request.max_model_len = 160;  // 10 blocks
  return request;
}

TEST(MemoryPlan, TakesWhatTheSequencesNeed) {
  const MemoryPlan plan = *PlanMemory(SmallRequest());
  EXPECT_EQ(plan.num_blocks, 40);
  EXPECT_EQ(plan.weight_bytes, 300 * kMiB);
  EXPECT_EQ(plan.activation_bytes, 100 * kMiB);
  EXPECT_EQ(plan.kv_bytes, 120 * kMiB);
  EXPECT_EQ(plan.total_bytes(), 520 * kMiB);
  EXPECT_DOUBLE_EQ(MaxConcurrency(plan, 16), 4.0);
}

TEST(MemoryPlan, CutsToTheBudget) {
  MemoryRequest request = SmallRequest();
  request.max_num_seqs = 64;
  const MemoryPlan plan = *PlanMemory(request);
  EXPECT_EQ(plan.num_blocks, 100);
  EXPECT_LE(plan.total_bytes(), plan.budget_bytes);
  EXPECT_DOUBLE_EQ(MaxConcurrency(plan, 16), 10.0);
}

TEST(MemoryPlan, RefusesARequestThatNeverFits) {
  MemoryRequest request = SmallRequest();
  request.max_model_len = 1601;
  const auto plan = PlanMemory(request);
  ASSERT_EQ(plan.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(plan.status().message(),
            "out of memory: the KV cache of one request of 1,601 tokens (--max-model-len) is 303.0 MiB, "
            "there is room "
            "for 1,600 tokens; weights 300.0 MiB + activations 100.0 MiB; 700.0 MiB may be used (0.70 of "
            "1000.0 MiB "
            "free); lower --max-model-len (auto takes what fits), or raise --gpu-memory-utilization");
  request.max_model_len = 1600;
  EXPECT_TRUE(PlanMemory(request).ok());
}

TEST(MemoryPlan, AutoLowersTheLength) {
  MemoryRequest request = SmallRequest();
  request.max_model_len = 100000;
  request.auto_max_model_len = true;
  EXPECT_EQ(PlanMemory(request)->max_model_len, 1600);
  request.max_model_len = 100;
  EXPECT_EQ(PlanMemory(request)->max_model_len, 100);
}

TEST(MemoryPlan, WeightsAloneAreTooMuch) {
  MemoryRequest request = SmallRequest();
  request.free_bytes = 500 * kMiB;
  request.auto_max_model_len = true;
  EXPECT_EQ(
      PlanMemory(request).status().message(),
      "out of memory: weights 300.0 MiB + activations 100.0 MiB; 350.0 MiB may be used (0.70 of 500.0 MiB "
      "free); lower --max-num-batched-tokens, or raise --gpu-memory-utilization");
}

TEST(MemoryPlan, TheOperatorsChoice) {
  MemoryRequest request = SmallRequest();
  request.kv_cache_bytes = 100 * kMiB;
  EXPECT_EQ(PlanMemory(request)->num_blocks, 33);
  request.num_blocks = 200;  // 600 MiB: more than the share, but free
  EXPECT_EQ(PlanMemory(request)->num_blocks, 200);
  request.num_blocks = 201;
  EXPECT_EQ(PlanMemory(request).status().message(),
            "out of memory: weights 300.0 MiB + activations 100.0 MiB + KV cache 603.0 MiB (201 blocks) = "
            "1003.0 MiB, "
            "but 1000.0 MiB is free; lower --num-gpu-blocks-override or --max-num-batched-tokens");
  request.num_blocks = 9;
  EXPECT_NE(PlanMemory(request).status().message().find("or raise --num-gpu-blocks-override"),
            std::string::npos);
}

TEST(MemoryPlan, Texts) {
  EXPECT_EQ(FormatBytes(1536 * kMiB), "1.50 GiB");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
}

class HostMemoryTest : public ::testing::Test {
 protected:
  HostMemoryTest() : root_(::testing::TempDir() + "host_memory_test") {
    std::filesystem::remove_all(root_);
    Write("/proc/meminfo", "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    800 kB\n");
  }
  ~HostMemoryTest() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  const std::string root_;
};

TEST_F(HostMemoryTest, WithoutGroups) {
  const HostMemory memory = *ReadHostMemory(root_);
  EXPECT_EQ(memory.total_bytes, 1000u * 1024);
  EXPECT_EQ(memory.free_bytes, 800u * 1024);
  EXPECT_FALSE(memory.is_cgroup);
}

TEST_F(HostMemoryTest, TheTightestGroupCounts) {
  Write("/proc/self/cgroup", "0::/a/b\n");
  Write("/sys/fs/cgroup/a/b/memory.max", "max\n");
  Write("/sys/fs/cgroup/a/b/memory.current", "100000\n");
  Write("/sys/fs/cgroup/a/memory.max", "500000\n");
  Write("/sys/fs/cgroup/a/memory.current", "300000\n");
  Write("/sys/fs/cgroup/a/memory.stat", "file 90000\ninactive_file 50000\n");
  const HostMemory memory = *ReadHostMemory(root_);
  EXPECT_EQ(memory.total_bytes, 500000u);
  EXPECT_EQ(memory.free_bytes, 250000u);
  EXPECT_TRUE(memory.is_cgroup);
}

TEST_F(HostMemoryTest, ContainerThatSeesItsGroupAsRoot) {
  Write("/proc/self/cgroup", "0::/not/visible/here\n");
  Write("/sys/fs/cgroup/memory.max", "400000\n");
  Write("/sys/fs/cgroup/memory.current", "0\n");
  EXPECT_EQ(ReadHostMemory(root_)->free_bytes, 400000u);
}

TEST_F(HostMemoryTest, VersionOne) {
  Write("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/x\n0::/\n");
  Write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "300000\n");
  Write("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "100000\n");
  EXPECT_EQ(ReadHostMemory(root_)->free_bytes, 200000u);
  Write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");  // no limit
  EXPECT_FALSE(ReadHostMemory(root_)->is_cgroup);
}

TEST(CoreMap, EachRankItsOwnCores) {
  const std::vector<int> cores = {0, 1, 2, 3, 8, 9, 10};
  const CoreMap shared = MapCores(cores, 2, std::nullopt);
  EXPECT_EQ(shared.threads_per_rank, 3);
  EXPECT_EQ(shared.cores[0], (std::vector<int>{0, 1, 2}));
  EXPECT_EQ(shared.cores[1], (std::vector<int>{3, 8, 9}));
  EXPECT_EQ(FormatCoreMap(shared), "rank 0: cores 0-2; rank 1: cores 3,8-9");
  EXPECT_EQ(FormatCoreMap(MapCores(cores, 2, 1)), "rank 0: core 0; rank 1: core 1");
}

TEST(CoreMap, MoreThreadsThanCores) {
  const std::vector<int> cores = {0, 1};
  const CoreMap map = MapCores(cores, 4, std::nullopt);
  EXPECT_EQ(map.threads_per_rank, 1);
  EXPECT_EQ(map.cores.size(), 4u);
  EXPECT_TRUE(map.cores[0].empty());
  EXPECT_EQ(FormatCoreMap(map), "4 ranks of 1 threads, more than there are cores: not pinned");
}

std::string ProgressText(bool is_terminal) {
  std::FILE* out = std::tmpfile();
  {
    Progress progress("Loading", {2 * kMiB, 2 * kMiB}, out, is_terminal);
    progress.Update(0, 0);
    progress.Update(0, 1 * kMiB);
    progress.Update(1, 2 * kMiB);
    progress.Update(1, 2 * kMiB);
    progress.Update(0, 2 * kMiB);
  }
  std::string text(static_cast<size_t>(std::ftell(out)), '\0');
  std::rewind(out);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), out), text.size());
  std::fclose(out);
  return text;
}

TEST(Progress, PlainLinesWithoutATerminal) {
  EXPECT_EQ(
      ProgressText(false),
      "Loading    0%  0/4 MiB\nLoading   25%  1/4 MiB\nLoading   75%  3/4 MiB\nLoading  100%  4/4 MiB\n");
}

TEST(Progress, ABarOnATerminal) {
  const std::string text = ProgressText(true);
  EXPECT_NE(text.find("\rLoading  [######################--------]   75%  3/4 MiB"), std::string::npos)
      << text;
  EXPECT_EQ(text.back(), '\n');
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

}  // namespace
}  // namespace penstock
