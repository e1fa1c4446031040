// Loops of independent instructions on registers, and a sum over a large buffer. Each is timed several times:
// the best counts, because a limit is not what the machine does on a bad day.
//
// SPDX-License-Identifier: Apache-2.0
#include "kernels/peak.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "base/clock.h"
#include "base/thread_team.h"
#include "tensor/buffer.h"

namespace penstock {
namespace {

constexpr int kRepeats = 25;  // short runs, many: on a shared machine some are undisturbed
constexpr int64_t kIterations = 500'000;
constexpr int kSums = 12;  // independent sums: more than latency times throughput of any processor so far

#define PENSTOCK_REPEAT_12(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)

__attribute__((target("avx2,fma"))) void FmaAvx2() {
  __m256 sum[kSums];
  for (__m256& s : sum) s = _mm256_setzero_ps();
  const __m256 a = _mm256_set1_ps(0.5f);
  for (int64_t i = 0; i < kIterations; ++i) {
#define PENSTOCK_FMA(j) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sum[j]) : "x"(a));
    PENSTOCK_REPEAT_12(PENSTOCK_FMA)
#undef PENSTOCK_FMA
  }
}

__attribute__((target("avx512f"))) void FmaAvx512() {
  __m512 sum[kSums];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  const __m512 a = _mm512_set1_ps(0.5f);
  for (int64_t i = 0; i < kIterations; ++i) {
#define PENSTOCK_FMA(j) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum[j]) : "v"(a));
    PENSTOCK_REPEAT_12(PENSTOCK_FMA)
#undef PENSTOCK_FMA
  }
}

__attribute__((target("avx512f,avx512bf16"))) void DotAvx512() {
  __m512 sum[kSums];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  const __m512 a = _mm512_setzero_ps();
  for (int64_t i = 0; i < kIterations; ++i) {
#define PENSTOCK_DOT(j) asm volatile("vdpbf16ps %1, %1, %0" : "+v"(sum[j]) : "v"(a));
    PENSTOCK_REPEAT_12(PENSTOCK_DOT)
#undef PENSTOCK_DOT
  }
}

__attribute__((target("avx512f,avx512vnni"))) void Int8DotAvx512() {
  __m512i sum[kSums];
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  const __m512i a = _mm512_setzero_si512();
  for (int64_t i = 0; i < kIterations; ++i) {
#define PENSTOCK_DOT(j) asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum[j]) : "v"(a));
    PENSTOCK_REPEAT_12(PENSTOCK_DOT)
#undef PENSTOCK_DOT
  }
}

// Seconds of the fastest of several runs of task on the whole team.
double BestSeconds(ThreadTeam& team, const std::function<void(int)>& task) {
  double best = 1e30;
  for (int i = 0; i < kRepeats; ++i) {
    const int64_t begin_us = NowUs();
    team.Run(task);
    best = std::min(best, static_cast<double>(NowUs() - begin_us) * 1e-6);
  }
  return best;
}

double Gflops(ThreadTeam& team, int flops_per_instruction, void (*loop)()) {
  const double seconds = BestSeconds(team, [loop](int) { loop(); });
  return 1e-9 * team.size() * kIterations * kSums * flops_per_instruction / seconds;
}

__attribute__((target("avx2"))) int64_t SumAvx2(const int64_t* data, int64_t count) {
  __m256i sums[4] = {};
  for (int64_t i = 0; i < count; i += 32) {
    for (int j = 0; j < 8; ++j) {
      const auto* p = reinterpret_cast<const __m256i*>(data + i + 4 * j);
      sums[j % 4] = _mm256_add_epi64(sums[j % 4], _mm256_load_si256(p));
      if (j % 2 == 0) _mm_prefetch(reinterpret_cast<const char*>(p) + 1024, _MM_HINT_T0);
    }
  }
  const __m256i sum =
      _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  return _mm256_extract_epi64(sum, 0) + _mm256_extract_epi64(sum, 1) + _mm256_extract_epi64(sum, 2) +
         _mm256_extract_epi64(sum, 3);
}

}  // namespace

double MeasureFmaPeak(ThreadTeam& team) {
  if (__builtin_cpu_supports("avx512f")) return Gflops(team, 32, &FmaAvx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Gflops(team, 16, &FmaAvx2);
  return 0;
}

double MeasureBf16DotPeak(ThreadTeam& team) {
  return __builtin_cpu_supports("avx512bf16") ? Gflops(team, 64, &DotAvx512) : 0;
}

double MeasureInt8DotPeak(ThreadTeam& team) {
  return __builtin_cpu_supports("avx512vnni") ? Gflops(team, 128, &Int8DotAvx512) : 0;
}

Peaks MeasurePeaks(ThreadTeam& team, std::string_view kernels_name) {
  const bool has_bf16 = kernels_name.starts_with("avx512_bf16");
  const bool has_int8 = has_bf16 || kernels_name.starts_with("avx512_vnni");
  Peaks peaks;
  peaks.f32_gflops = MeasureFmaPeak(team);
  peaks.bf16_gflops = has_bf16 ? MeasureBf16DotPeak(team) : peaks.f32_gflops;
  peaks.int8_gops = has_int8 ? MeasureInt8DotPeak(team) : 0;
  peaks.read_gb_per_s = MeasureReadBandwidth(team);
  return peaks;
}

double MeasureReadBandwidth(ThreadTeam& team) {
  if (!__builtin_cpu_supports("avx2")) return 0;
  constexpr int64_t kWords = int64_t{32} << 20;  // 256 MiB a thread
  std::vector<Buffer> buffers;
  for (int i = 0; i < team.size(); ++i) buffers.emplace_back(kWords * sizeof(int64_t));
  std::atomic<int64_t> sum{0};
  const auto fill = [&](int thread_idx) {
    std::fill_n(buffers[thread_idx].as<int64_t>(), kWords, thread_idx + 1);
  };
  const auto read = [&](int thread_idx) { sum += SumAvx2(buffers[thread_idx].as<int64_t>(), kWords); };
  team.Run(fill);
  const double seconds = BestSeconds(team, read);
  return sum == 0 ? 0 : 1e-9 * team.size() * kWords * sizeof(int64_t) / seconds;
}

}  // namespace penstock
