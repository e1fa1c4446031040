// SPDX-License-Identifier: Apache-2.0
#include "apps/host_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

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

}  // namespace
}  // namespace penstock
