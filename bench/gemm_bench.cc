// Products of activations with packed weights: decode (few rows) and prefill (many), bf16.
//
// The weights of successive runs are different copies, together larger than any cache, as those of successive
// layers are. Each line gives the share of the processor's limit that was measured in the same run: of
// arithmetic ("of_peak"), and of reading memory ("of_bandwidth", for the weights).
//
// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/affinity.h"
#include "base/thread_team.h"
#include "bench/report.h"
#include "kernels/kernels.h"
#include "kernels/peak.h"
#include "tensor/buffer.h"

namespace penstock {
namespace {

constexpr size_t kColdBytes = size_t{192} << 20;
constexpr double kSecondsPerCase = 0.7;

struct Shape {
  int64_t n, k;
};

void FillBf16(Buffer& buffer, int64_t count) {
  uint32_t state = 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525 + 1013904223;
    buffer.as<Bf16>()[i] = ToBf16(static_cast<float>(static_cast<int32_t>(state)) * 0x1p-31f);
  }
}

std::vector<std::unique_ptr<PackedMat>> PackCopies(Kernels& kernels, const Shape& shape, bool smoke) {
  Buffer source(static_cast<size_t>(shape.n * shape.k) * sizeof(Bf16));
  FillBf16(source, shape.n * shape.k);
  const ConstMat part(source.data(), DType::kBF16, shape.n, shape.k);
  std::vector<std::unique_ptr<PackedMat>> copies;
  size_t bytes = 0;
  do {
    copies.push_back(kernels.Pack(std::span(&part, 1), DType::kBF16));
    bytes += copies.back()->bytes();
  } while (bytes < kColdBytes && !smoke);
  return copies;
}

struct Limits {
  double gflops, read_gbs;
};

void BenchShape(const BenchOptions& options, Kernels& kernels, const Shape& shape, const Limits& limits) {
  const auto copies = PackCopies(kernels, shape, options.smoke);
  for (const int64_t m : {1, 8, 64, 512, 2048}) {
    const std::string name = "linear m=" + std::to_string(m) + " n=" + std::to_string(shape.n) +
                             " k=" + std::to_string(shape.k) + " " + std::string(kernels.name());
    if (name.find(options.filter) == std::string::npos) continue;
    Buffer x(static_cast<size_t>(m * shape.k) * sizeof(Bf16)),
        y(static_cast<size_t>(m * shape.n) * sizeof(Bf16));
    FillBf16(x, m * shape.k);
    size_t next = 0;
    const Timing timing = TimeCase(options, kSecondsPerCase, [&] {
      kernels.Linear(ConstMat(x.data(), DType::kBF16, m, shape.k), *copies[next],
                     Mat(y.data(), DType::kBF16, m, shape.n));
      next = (next + 1) % copies.size();
    });
    const double flops = 2e-9 * static_cast<double>(m * shape.n * shape.k);
    const double gigabytes = 1e-9 * static_cast<double>(copies[0]->bytes());
    ReportRate(options, name, timing, flops, "GFLOP/s",
               {{"of_peak", flops / timing.median_s / limits.gflops},
                {"of_bandwidth", gigabytes / timing.median_s / limits.read_gbs}});
  }
}

int Main(int argc, char** argv) {
  const BenchOptions options = ParseBenchOptions(argc, argv);
  const std::vector<int> cores = UsableCores();
  ThreadTeam team(options.threads, cores);
  PinThisThread(std::span(cores).first(1));
  const auto kernels = MakeCpuKernels(team, options.isa);
  if (kernels == nullptr) {
    std::fprintf(stderr, "this machine or build has no kernels '%s'\n", options.isa.c_str());
    return 1;
  }
  const double fma = MeasureFmaPeak(team), dot = MeasureBf16DotPeak(team), read = MeasureReadBandwidth(team);
  ReportRate(options, "peak fp32 multiply-add", {1, 1, 1}, fma, "GFLOP/s", {});
  ReportRate(options, "peak bf16 dot product", {1, 1, 1}, dot, "GFLOP/s", {});
  ReportRate(options, "peak memory read", {1, 1, 1}, read, "GB/s", {});
  const Limits limits{kernels->name().starts_with("avx512_bf16") ? dot : fma, read};
  for (const Shape shape : {Shape{2048, 1024}, Shape{6144, 1024}, Shape{1024, 3072}, Shape{32768, 1024}}) {
    BenchShape(options, *kernels, shape, limits);
  }
  return 0;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) { return penstock::Main(argc, argv); }
