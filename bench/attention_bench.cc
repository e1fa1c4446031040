// Speed of attention: grouped-query at long contexts, prefill and decode, and latent attention in both forms.
//
//   attention_bench [--isa NAME] [--threads N] [--repeat N] [--only TEXT] [--smoke]
//
// Prints one JSON line per case. "share" is the share of the processor's peak, measured in the same run, that
// the useful arithmetic takes: 2 operations per multiplication of a query with a key or a probability with a
// value that causality lets through. The peak is that of the instruction the kernels multiply with.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/thread_team.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/kv_layout.h"

namespace penstock {
namespace {

struct Options {
  std::string isa;
  std::string only;
  int threads = 1;
  int repeat = 5;
  bool smoke = false;
};

double Seconds(const std::function<void()>& body) {
  const auto begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// --- the peak ------------------------------------------------------------------------------------

constexpr int kPeakRounds = 200'000;
constexpr int kPeakChains = 20;  // more than latency times throughput of any processor so far

// Each returns operations done; `sink` keeps them from being dropped.
double Fma(float* sink) {
  for (int c = 0; c < kPeakChains; ++c) {
    for (int i = 0; i < kPeakRounds / 100; ++i) sink[c] = sink[c] * 0.999f + 0.5f;
  }
  return 2.0 * kPeakChains * (kPeakRounds / 100);
}

__attribute__((target("avx2,fma"))) double FmaAvx2(float* sink) {
  __m256 acc[kPeakChains];
  for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm256_set1_ps(static_cast<float>(c));
  __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.5f);
  for (int i = 0; i < kPeakRounds; ++i) {
#pragma GCC unroll 20
    for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm256_fmadd_ps(acc[c], a, b);
    __asm__ volatile("" : "+x"(a), "+x"(b));
  }
  for (int c = 0; c < kPeakChains; ++c) sink[c] = _mm256_cvtss_f32(acc[c]);
  return 2.0 * 8 * kPeakChains * kPeakRounds;
}

__attribute__((target("avx512f"))) double FmaAvx512(float* sink) {
  __m512 acc[kPeakChains];
  for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.5f);
  for (int i = 0; i < kPeakRounds; ++i) {
#pragma GCC unroll 20
    for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm512_fmadd_ps(acc[c], a, b);
    __asm__ volatile("" : "+v"(a), "+v"(b));
  }
  for (int c = 0; c < kPeakChains; ++c) sink[c] = _mm512_cvtss_f32(acc[c]);
  return 2.0 * 16 * kPeakChains * kPeakRounds;
}

__attribute__((target("avx512f,avx512bf16"))) double DotBf16(float* sink) {
  __m512 acc[kPeakChains];
  for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  __m512i a = _mm512_set1_epi16(0x3f00), b = _mm512_set1_epi16(0x3e80);
  for (int i = 0; i < kPeakRounds; ++i) {
#pragma GCC unroll 20
    for (int c = 0; c < kPeakChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], (__m512bh)a, (__m512bh)b);
    __asm__ volatile("" : "+v"(a), "+v"(b));
  }
  for (int c = 0; c < kPeakChains; ++c) sink[c] = _mm512_cvtss_f32(acc[c]);
  return 2.0 * 32 * kPeakChains * kPeakRounds;
}

// GFLOP/s of all threads of the team together, the best of some short runs.
double PeakGflops(ThreadTeam& team, const std::string& isa) {
  double (*loop)(float*) = Fma;
  if (isa == "avx2") loop = FmaAvx2;
  if (isa == "avx512") loop = FmaAvx512;
  if (isa == "avx512_bf16") loop = DotBf16;
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    std::vector<double> operations(team.size());
    const double seconds = Seconds([&] {
      team.Run([&](int thread_idx) {
        float sink[kPeakChains] = {};
        operations[thread_idx] = loop(sink);
        volatile float used = sink[0];
        (void)used;
      });
    });
    double sum = 0;
    for (const double o : operations) sum += o;
    best = std::max(best, sum / seconds / 1e9);
  }
  return best;
}

// --- cases ---------------------------------------------------------------------------------------

// The middle one when sorted, or of another quantile.
double Quantile(std::vector<double> values, double quantile) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(quantile * (values.size() - 1) + 0.5)];
}

struct Bench {
  const AttentionOps& ops;
  ThreadTeam& team;
  const Options& options;

  // `operations`: useful ones of a call; `bytes`: of the cache that a call reads. The peak is measured again
  // beside each call, since the clock of the processor changes.
  void Report(const std::string& name, double operations, double bytes,
              const std::function<void()>& call) const {
    std::vector<double> seconds, peaks, shares;
    call();  // takes the memory
    for (int i = 0; i < options.repeat; ++i) {
      const double before = PeakGflops(team, ops.name);
      seconds.push_back(Seconds(call));
      peaks.push_back((before + PeakGflops(team, ops.name)) / 2);
      shares.push_back(operations / seconds.back() / 1e9 / peaks.back());
    }
    const double median = Quantile(seconds, 0.5);
    fmt::print(
        "{{\"case\":\"{}\",\"isa\":\"{}\",\"threads\":{},\"median\":{:.4f},\"p10\":{:.4f},\"p90\":{:.4f},"
        "\"unit\":\"ms\","
        "\"gflops\":{:.1f},\"peak_gflops\":{:.1f},\"share\":{:.3f},\"cache_gb_per_s\":{:.1f}}}\n",
        name, ops.name, team.size(), median * 1e3, Quantile(seconds, 0.1) * 1e3, Quantile(seconds, 0.9) * 1e3,
        operations / median / 1e9, Quantile(peaks, 0.5), Quantile(shares, 0.5), bytes / median / 1e9);
    std::fflush(stdout);
  }
  bool Skips(const std::string& name) const { return name.find(options.only) == std::string::npos; }
};

std::vector<uint16_t> RandomBf16(int64_t count, float scale) {
  std::vector<uint16_t> values(count);
  std::mt19937 generator(7);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<uint16_t> some(4099);  // drawing all would take longer than the benchmark
  for (uint16_t& value : some) value = ToBf16(normal(generator)).bits;
  for (int64_t i = 0; i < count; ++i) values[i] = some[(i + i / 4099 * 31) % 4099];
  return values;
}

std::vector<int32_t> ScatteredBlocks(int32_t count) {
  std::vector<int32_t> ids(count);
  for (int32_t i = 0; i < count; ++i) ids[i] = i;
  std::shuffle(ids.begin(), ids.end(), std::mt19937(3));
  return ids;
}

// Random keys and values in all blocks.
void FillCache(CpuAttention& attention, const GqaShape& shape, const KvLayerView& view,
               const std::vector<int32_t>& blocks) {
  const int64_t columns = int64_t{shape.num_kv_heads} * shape.head_dim;
  const std::vector<uint16_t> k = RandomBf16(view.block_size * columns, 1.0f);
  const std::vector<uint16_t> v = RandomBf16(view.block_size * columns, 0.5f);
  for (const int32_t& block : blocks) {
    const SeqSpan span{0, view.block_size, 0, &block};
    attention.GqaStore(ConstMat(k.data(), DType::kBF16, view.block_size, columns),
                       ConstMat(v.data(), DType::kBF16, view.block_size, columns), std::span(&span, 1), shape,
                       view);
  }
}

// `len` queries of each of `num_sequences` sequences, at the end of `context` tokens each.
void BenchGqa(const Bench& bench, const std::string& name, const GqaShape& shape, int32_t len,
              int32_t context, int32_t num_sequences = 1, DType dtype = DType::kBF16) {
  if (bench.Skips(name)) return;
  CpuAttention attention(bench.ops, bench.team);
  const int32_t block_size = 64, blocks_each = CeilDiv(context, block_size);
  const std::vector<int32_t> blocks = ScatteredBlocks(blocks_each * num_sequences);
  const size_t block_bytes = attention.GqaBlockBytes(shape, block_size, dtype);
  std::vector<std::byte> cache(blocks.size() * block_bytes);
  const KvLayerView view{cache.data(), block_bytes, static_cast<int32_t>(blocks.size()), block_size, dtype};
  FillCache(attention, shape, view, blocks);
  const int64_t columns = int64_t{shape.num_heads} * shape.head_dim, rows = int64_t{len} * num_sequences;
  std::vector<uint16_t> q = RandomBf16(rows * columns, 1.0f), out(rows * columns);
  std::vector<SeqSpan> spans;
  for (int32_t i = 0; i < num_sequences; ++i)
    spans.push_back({i * len, len, context - len, &blocks[i * blocks_each]});
  const double pairs = static_cast<double>(rows) * (context - len + (len + 1) / 2.0) * shape.num_heads;
  bench.Report(name, 4.0 * pairs * shape.head_dim, static_cast<double>(cache.size()), [&] {
    attention.GqaAttention(ConstMat(q.data(), DType::kBF16, rows, columns), spans, shape, view,
                           Mat(out.data(), DType::kBF16, rows, columns));
  });
}

void BenchMla(const Bench& bench, const std::string& name, const MlaShape& shape, int32_t len,
              int32_t context, MlaForm form) {
  if (bench.Skips(name)) return;
  CpuAttention attention(bench.ops, bench.team);
  const int32_t block_size = 64;
  const std::vector<int32_t> blocks = ScatteredBlocks(CeilDiv(context, block_size));
  const size_t block_bytes = attention.MlaBlockBytes(shape, block_size, DType::kBF16);
  std::vector<uint16_t> cache = RandomBf16(static_cast<int64_t>(blocks.size() * block_bytes / 2), 1.0f);
  const KvLayerView view{reinterpret_cast<std::byte*>(cache.data()), block_bytes,
                         static_cast<int32_t>(blocks.size()), block_size, DType::kBF16};
  const int64_t q_dim = shape.nope_dim + shape.rope_dim, heads = shape.num_heads;
  const int64_t kv_b_rows = heads * (shape.nope_dim + shape.v_dim);
  const std::vector<uint16_t> kv_b = RandomBf16(kv_b_rows * shape.kv_lora_rank, 0.05f);
  const auto packed = attention.PackKvB(ConstMat(kv_b.data(), DType::kBF16, kv_b_rows, shape.kv_lora_rank),
                                        shape, DType::kBF16);
  std::vector<uint16_t> q = RandomBf16(len * heads * q_dim, 1.0f), out(len * heads * shape.v_dim);
  const SeqSpan span{0, len, context - len, blocks.data()};
  const double pairs = static_cast<double>(len) * (context - len + (len + 1) / 2.0);
  const double expansion = static_cast<double>(shape.kv_lora_rank) * (shape.nope_dim + shape.v_dim);
  const double products = form == MlaForm::kAbsorbed
                              ? len * expansion + pairs * (2 * shape.kv_lora_rank + shape.rope_dim)
                              : context * expansion + pairs * (q_dim + shape.v_dim);
  bench.Report(name, 2.0 * heads * products, static_cast<double>(cache.size()) * 2, [&] {
    attention.MlaAttention(ConstMat(q.data(), DType::kBF16, len, heads * q_dim), std::span(&span, 1), shape,
                           view, *packed, Mat(out.data(), DType::kBF16, len, heads * shape.v_dim), form);
  });
}

void RunAll(const Bench& bench, bool smoke) {
  const GqaShape qwen{.num_heads = 16, .num_kv_heads = 8, .head_dim = 128, .scale = 0.088f};
  const MlaShape deepseek{
      .num_heads = 16, .kv_lora_rank = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.07f};
  if (smoke) {
    BenchGqa(bench, "gqa smoke", qwen, 64, 256);
    BenchMla(bench, "mla smoke", deepseek, 16, 64, MlaForm::kExpanded);
    return;
  }
  const GqaShape smol{.num_heads = 9, .num_kv_heads = 3, .head_dim = 64, .scale = 0.125f};
  for (const DType dtype : {DType::kBF16, DType::kI8}) {
    const std::string gqa = fmt::format("gqa {}", DTypeName(dtype));
    for (const int32_t context : {2048, 4096, 8192, 16384, 32768}) {
      BenchGqa(bench, fmt::format("{} prefill 2048 at {}", gqa, context), qwen, 2048, context, 1, dtype);
    }
    for (const int32_t len : {128, 256, 512}) {
      BenchGqa(bench, fmt::format("{} prefill {} at 16384", gqa, len), qwen, len, 16384, 1, dtype);
    }
    for (const int32_t len : {128, 512, 2048}) {
      BenchGqa(bench, fmt::format("{} of 64 prefill {} at 8192", gqa, len), smol, len, 8192, 1, dtype);
    }
    BenchGqa(bench, fmt::format("{} decode at 4096", gqa), qwen, 1, 4096, 1, dtype);
    BenchGqa(bench, fmt::format("{} decode at 32768", gqa), qwen, 1, 32768, 1, dtype);
    BenchGqa(bench, fmt::format("{} decode of 16 at 2048", gqa), qwen, 1, 2048, 16, dtype);
  }
  BenchMla(bench, "mla expanded 2048 at 2048", deepseek, 2048, 2048, MlaForm::kExpanded);
  BenchMla(bench, "mla expanded 1024 at 8192", deepseek, 1024, 8192, MlaForm::kExpanded);
  BenchMla(bench, "mla absorbed decode at 4096", deepseek, 1, 4096, MlaForm::kAbsorbed);
  BenchMla(bench, "mla absorbed 8 at 4096", deepseek, 8, 4096, MlaForm::kAbsorbed);
}

const AttentionOps& ChooseOps(const std::string& isa) {
  if (isa == "generic") return GenericAttentionOps();
  if (isa == "avx2") return Avx2AttentionOps();
  if (isa == "avx512") return Avx512AttentionOps();
  if (isa == "avx512_bf16") return Avx512Bf16AttentionOps();
  CHECK(isa.empty()) << "--isa " << isa << ", expected generic, avx2, avx512 or avx512_bf16";
  if (__builtin_cpu_supports("avx512bf16")) return Avx512Bf16AttentionOps();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq")) return Avx512AttentionOps();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Avx2AttentionOps();
  return GenericAttentionOps();
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--smoke") {
      options.smoke = true;
      options.repeat = 1;
      continue;
    }
    CHECK_LT(i + 1, argc) << flag << " needs a value";
    const std::string value = argv[++i];
    if (flag == "--isa")
      options.isa = value;
    else if (flag == "--threads")
      options.threads = std::stoi(value);
    else if (flag == "--repeat")
      options.repeat = std::stoi(value);
    else if (flag == "--only")
      options.only = value;
    else
      CHECK(false) << "unknown flag " << flag;
  }
  return options;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  using namespace penstock;
  const Options options = ParseOptions(argc, argv);
  const AttentionOps& ops = ChooseOps(options.isa);
  ThreadTeam team(options.threads);
  RunAll({ops, team, options}, options.smoke);
  return 0;
}
