// SPDX-License-Identifier: Apache-2.0
#include "apps/kernel_bench_report.h"

#include <fmt/format.h>

namespace penstock {
namespace {

constexpr std::string_view kColumns = "{:<22} {:<30} {:<5} {:>10} {:<8} {:>9} {:>7} {:>10} {:>11}\n";

std::string OrDash(double value, std::string_view format) {
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "-";
}

}  // namespace

std::string KernelBenchHeading(std::string_view cpu, std::string_view kernels, int num_threads,
                               const Peaks& peaks) {
  return fmt::format(
      "{}, kernels {}, {} thread{}\n"
      "peak, measured now: bf16 {} GFLOP/s, int8 {} GOP/s, fp32 {} GFLOP/s, memory {} GB/s\n\n",
      cpu, kernels, num_threads, num_threads == 1 ? "" : "s", OrDash(peaks.bf16_gflops, "{:.0f}"),
      OrDash(peaks.int8_gops, "{:.0f}"), OrDash(peaks.f32_gflops, "{:.0f}"),
      OrDash(peaks.read_gb_per_s, "{:.1f}"));
}

std::string KernelBenchColumns() {
  return fmt::format(kColumns, "operation", "shape", "dtype", "rate", "", "peak", "share", "MB", "median us");
}

std::string KernelBenchLine(const KernelBenchRow& row) {
  return fmt::format(kColumns, row.op, row.shape, row.dtype, fmt::format("{:.1f}", row.rate), row.unit,
                     OrDash(row.peak, "{:.1f}"), OrDash(row.share * 100, "{:.1f} %"),
                     fmt::format("{:.2f}", row.bytes / 1e6), fmt::format("{:.1f}", row.median_us));
}

Json KernelBenchJson(std::span<const KernelBenchRow> rows) {
  Json array = Json::array();
  for (const KernelBenchRow& row : rows) {
    array.push_back({{"op", row.op},
                     {"shape", row.shape},
                     {"dtype", row.dtype},
                     {"rate", row.rate},
                     {"peak", row.peak > 0 ? Json(row.peak) : Json(nullptr)},
                     {"share", row.peak > 0 ? Json(row.share) : Json(nullptr)},
                     {"unit", row.unit},
                     {"bytes", row.bytes},
                     {"median_us", row.median_us}});
  }
  return array;
}

}  // namespace penstock
