// SPDX-License-Identifier: Apache-2.0
#include "apps/kernel_bench.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "apps/commands.h"
#include "apps/kernel_bench_report.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr Peaks kPeaks{.f32_gflops = 100, .bf16_gflops = 400, .int8_gops = 800, .read_gb_per_s = 40};

std::vector<KernelBenchRow> RunQuick(const std::string& only) {
  ThreadTeam team(2);
  const auto kernels = MakeCpuKernels(team);
  std::vector<KernelBenchRow> rows;
  const std::function<void(const KernelBenchRow&)> on_row = [&](const KernelBenchRow& row) {
    rows.push_back(row);
  };
  KernelBench(*kernels, kPeaks, {.quick = true, .only = only}, on_row).Run();
  return rows;
}

TEST(KernelBench, QuickRunsEveryOperationInEveryType) {
  std::set<std::string> seen;
  for (const KernelBenchRow& row : RunQuick("")) {
    seen.insert(row.op + " " + row.dtype);
    EXPECT_GT(row.rate, 0) << row.op;
    EXPECT_GT(row.bytes, 0) << row.op;
    EXPECT_GT(row.median_us, 0) << row.op;
    EXPECT_DOUBLE_EQ(row.share, row.rate / row.peak) << row.op;
  }
  const std::set<std::string> expected = {"linear small bf16",
                                          "linear small int8",
                                          "attention gqa bf16",
                                          "attention gqa int8",
                                          "attention mla expanded bf16",
                                          "attention mla absorbed bf16",
                                          "moe bf16",
                                          "moe int8",
                                          "rms_norm bf16",
                                          "add_rms_norm bf16",
                                          "head_rms_norm bf16",
                                          "rope bf16",
                                          "silu_mul bf16"};
  EXPECT_EQ(seen, expected);
}

TEST(KernelBench, OnlyChoosesCases) {
  for (const KernelBenchRow& row : RunQuick("moe")) EXPECT_EQ(row.op, "moe");
  EXPECT_EQ(RunQuick("rope").size(), 1u);
  EXPECT_TRUE(RunQuick("no such case").empty());
}

TEST(KernelBench, TheLimitIsArithmeticOrMemoryWhicheverTakesLonger) {
  // 4 ms of arithmetic, 1 ms of memory; in 5 ms.
  const KernelBenchRow fast = MakeKernelBenchRow("a", "b", "bf16", 1.6e9, 4e7, 5e-3, kPeaks);
  EXPECT_EQ(fast.unit, "GFLOP/s");
  EXPECT_DOUBLE_EQ(fast.rate, 320);
  EXPECT_DOUBLE_EQ(fast.peak, 400);
  EXPECT_DOUBLE_EQ(fast.share, 0.8);
  // 2 ms of arithmetic (int8), 4 ms of memory; in 8 ms.
  const KernelBenchRow slow = MakeKernelBenchRow("a", "b", "int8", 1.6e9, 1.6e8, 8e-3, kPeaks);
  EXPECT_EQ(slow.unit, "GB/s");
  EXPECT_DOUBLE_EQ(slow.rate, 20);
  EXPECT_DOUBLE_EQ(slow.share, 0.5);
  // An unknown peak is no limit of memory either.
  const KernelBenchRow unknown =
      MakeKernelBenchRow("a", "b", "int8", 1.6e9, 1.6e8, 8e-3, {.read_gb_per_s = 40});
  EXPECT_EQ(unknown.unit, "GOP/s");
  EXPECT_DOUBLE_EQ(unknown.rate, 200);
  EXPECT_EQ(unknown.share, 0);
}

TEST(KernelBenchReport, LinesAndJson) {
  KernelBenchRow row = MakeKernelBenchRow("linear qkv", "1x2x3", "bf16", 1.6e9, 4e7, 5e-3, kPeaks);
  EXPECT_EQ(KernelBenchLine(row),
            "linear qkv             1x2x3                          bf16       320.0 GFLOP/s      400.0  80.0 "
            "%      "
            "40.00      5000.0\n");
  EXPECT_EQ(KernelBenchColumns().size(), KernelBenchLine(row).size());
  Json json = KernelBenchJson(std::vector{row});
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["op"], "linear qkv");
  EXPECT_EQ(json[0]["shape"], "1x2x3");
  EXPECT_EQ(json[0]["dtype"], "bf16");
  EXPECT_EQ(json[0]["rate"], 320.0);
  EXPECT_EQ(json[0]["peak"], 400.0);
  EXPECT_EQ(json[0]["share"], 0.8);
  row.peak = 0;
  EXPECT_TRUE(KernelBenchJson(std::vector{row})[0]["share"].is_null());
  EXPECT_NE(KernelBenchHeading("cpu", "avx2", 2, {.bf16_gflops = 400}).find("bf16 400 GFLOP/s, int8 - GOP/s"),
            std::string::npos);
}

TEST(BenchKernelsCommand, RefusesKernelsThatAreNotThere) {
  const std::vector<std::string> args = {"--quick", "--kernel-isa", "sse9"};
  EXPECT_EQ(RunBenchKernels(args), kExitUsage);
}

}  // namespace
}  // namespace penstock
