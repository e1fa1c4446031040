// SPDX-License-Identifier: Apache-2.0
#include "apps/kernel_bench.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "base/percentile.h"

namespace penstock {
namespace {

constexpr size_t kColdBytes = size_t{192} << 20;
constexpr double kSecondsPerCase = 0.4;
constexpr size_t kMinRuns = 5;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

KernelBenchRow MakeKernelBenchRow(std::string op, std::string shape, std::string_view dtype,
                                  double operations, double bytes, double seconds, const Peaks& peaks) {
  const bool int8 = dtype == "int8";
  const double arithmetic = int8 ? peaks.int8_gops : peaks.bf16_gflops;
  const double operation_s = arithmetic > 0 ? 1e-9 * operations / arithmetic : 0;
  const double byte_s = peaks.read_gb_per_s > 0 ? 1e-9 * bytes / peaks.read_gb_per_s : 0;
  KernelBenchRow row;
  row.op = std::move(op);
  row.shape = std::move(shape);
  row.dtype = dtype;
  const bool by_bytes = byte_s > operation_s && (arithmetic > 0 || operations == 0);
  row.unit = by_bytes ? "GB/s" : int8 ? "GOP/s" : "GFLOP/s";
  row.rate = 1e-9 * (by_bytes ? bytes : operations) / seconds;
  row.peak = by_bytes ? peaks.read_gb_per_s : arithmetic;
  row.share = row.peak > 0 ? row.rate / row.peak : 0;
  row.bytes = bytes;
  row.median_us = seconds * 1e6;
  return row;
}

Buffer RandomBf16Buffer(int64_t count) {
  Buffer buffer(static_cast<size_t>(std::max<int64_t>(1, count)) * sizeof(Bf16));
  uint32_t state = 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    buffer.as<Bf16>()[i] = ToBf16(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f);
  }
  return buffer;
}

bool KernelBench::Wanted(const Case& one) const {
  const std::string name = one.op + " " + one.shape + " " + std::string(one.dtype);
  return name.find(options_.only) != std::string::npos;
}

size_t KernelBench::NumCopies(size_t bytes) const {
  return options_.quick ? 1 : std::max<size_t>(1, kColdBytes / std::max<size_t>(1, bytes));
}

void KernelBench::Measure(const Case& one, const std::function<void(size_t)>& run) const {
  std::vector<double> seconds;
  size_t i = 0;
  run(i++);  // takes the memory
  const double end = Now() + kSecondsPerCase;
  do {
    const double begin = Now();
    run(i++);
    seconds.push_back(std::max(1e-9, Now() - begin));
  } while (!options_.quick && (Now() < end || seconds.size() < kMinRuns));
  on_row_(MakeKernelBenchRow(one.op, one.shape, one.dtype, one.operations, one.bytes, Percentile(seconds, 50),
                             peaks_));
}

}  // namespace penstock
