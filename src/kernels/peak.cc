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
// Independent sums: more than latency times throughput, as far as there are registers.
constexpr int kSumsAvx2 = 12, kSumsAvx512 = 24;

#define PENSTOCK_REPEAT_12(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11)
#define PENSTOCK_REPEAT_24(x) \
  PENSTOCK_REPEAT_12(x) x(12) x(13) x(14) x(15) x(16) x(17) x(18) x(19) x(20) x(21) x(22) x(23)

// A loop of one instruction with three operands, all registers, which adds to the first.
#define PENSTOCK_LOOP(name, features, vector, sums, repeat, instruction) \
  __attribute__((target(features))) void name() {                        \
    vector sum[sums] = {};                                               \
    const vector a = {};                                                 \
    for (int64_t i = 0; i < kIterations; ++i) {                          \
      repeat(instruction)                                                \
    }                                                                    \
  }
#define PENSTOCK_FMA_YMM(j) asm volatile("vfmadd231ps %1, %1, %0" : "+x"(sum[j]) : "x"(a));
#define PENSTOCK_FMA_ZMM(j) asm volatile("vfmadd231ps %1, %1, %0" : "+v"(sum[j]) : "v"(a));
#define PENSTOCK_BF16_ZMM(j) asm volatile("vdpbf16ps %1, %1, %0" : "+v"(sum[j]) : "v"(a));
#define PENSTOCK_INT8_ZMM(j) asm volatile("vpdpbusd %1, %1, %0" : "+v"(sum[j]) : "v"(a));

PENSTOCK_LOOP(FmaAvx2, "avx2,fma", __m256, kSumsAvx2, PENSTOCK_REPEAT_12, PENSTOCK_FMA_YMM)
PENSTOCK_LOOP(FmaAvx512, "avx512f", __m512, kSumsAvx512, PENSTOCK_REPEAT_24, PENSTOCK_FMA_ZMM)
PENSTOCK_LOOP(DotAvx512, "avx512f,avx512bf16", __m512, kSumsAvx512, PENSTOCK_REPEAT_24, PENSTOCK_BF16_ZMM)
PENSTOCK_LOOP(Int8DotAvx512, "avx512f,avx512vnni", __m512i, kSumsAvx512, PENSTOCK_REPEAT_24,
              PENSTOCK_INT8_ZMM)

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

double Gflops(ThreadTeam& team, int num_sums, int flops_per_instruction, void (*loop)()) {
  const double seconds = BestSeconds(team, [loop](int) { loop(); });
  return 1e-9 * team.size() * kIterations * num_sums * flops_per_instruction / seconds;
}

__attribute__((target("avx2"))) int64_t SumAvx2(const int64_t* data, int64_t count) {
  // Named, not an array: with an index that is no constant, gcc 12 keeps the sums in memory.
  __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
  const auto* p = reinterpret_cast<const __m256i*>(data);
  for (const auto* end = p + count / 4; p != end; p += 8) {
    for (int line = 0; line < 4; ++line)
      _mm_prefetch(reinterpret_cast<const char*>(p + 2 * line) + 1024, _MM_HINT_T0);
    a = _mm256_add_epi64(a, _mm256_add_epi64(_mm256_load_si256(p), _mm256_load_si256(p + 1)));
    b = _mm256_add_epi64(b, _mm256_add_epi64(_mm256_load_si256(p + 2), _mm256_load_si256(p + 3)));
    c = _mm256_add_epi64(c, _mm256_add_epi64(_mm256_load_si256(p + 4), _mm256_load_si256(p + 5)));
    d = _mm256_add_epi64(d, _mm256_add_epi64(_mm256_load_si256(p + 6), _mm256_load_si256(p + 7)));
  }
  const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
  return _mm256_extract_epi64(sum, 0) + _mm256_extract_epi64(sum, 1) + _mm256_extract_epi64(sum, 2) +
         _mm256_extract_epi64(sum, 3);
}

}  // namespace

double MeasureFmaPeak(ThreadTeam& team) {
  if (__builtin_cpu_supports("avx512f")) return Gflops(team, kSumsAvx512, 32, &FmaAvx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return Gflops(team, kSumsAvx2, 16, &FmaAvx2);
  return 0;
}

double MeasureBf16DotPeak(ThreadTeam& team) {
  return __builtin_cpu_supports("avx512bf16") ? Gflops(team, kSumsAvx512, 64, &DotAvx512) : 0;
}

double MeasureInt8DotPeak(ThreadTeam& team) {
  return __builtin_cpu_supports("avx512vnni") ? Gflops(team, kSumsAvx512, 128, &Int8DotAvx512) : 0;
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
