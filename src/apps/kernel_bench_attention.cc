// Attention: a chunk of a prompt, and decode, over contexts of all lengths. Operations are those that
// causality lets through.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <random>
#include <vector>

#include "apps/kernel_bench.h"
#include "base/checked_math.h"

namespace penstock {
namespace {

constexpr int32_t kBlockSize = 64;

// One layer's cache of one sequence, its blocks scattered.
struct PagedCache {
  PagedCache(size_t block_bytes, int32_t context) : ids(CeilDiv(context, kBlockSize)) {
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    std::shuffle(ids.begin(), ids.end(), std::mt19937(3));
    data = RandomBf16Buffer(static_cast<int64_t>(ids.size() * block_bytes / sizeof(Bf16)));
    view = {data.as<std::byte>(), block_bytes, static_cast<int32_t>(ids.size()), kBlockSize, DType::kBF16};
  }
  std::vector<int32_t> ids;
  Buffer data;
  KvLayerView view;
};

double CausalPairs(int32_t len, int32_t context) {
  return static_cast<double>(len) * (context - len + (len + 1) / 2.0);
}

}  // namespace

void KernelBench::Gqa(int32_t len, int32_t context, DType kv_dtype) {
  const GqaShape shape{.num_heads = 16, .num_kv_heads = 8, .head_dim = 128, .scale = 0.088f};
  const int64_t columns = int64_t{shape.num_heads} * shape.head_dim;
  const size_t block_bytes = kernels_.GqaBlockBytes(shape, kBlockSize, kv_dtype);
  const Case one{.op = "attention gqa",
                 .shape = fmt::format("{} at {}, 16/8 heads of 128", len, context),
                 .dtype = kv_dtype == DType::kI8 ? "int8" : "bf16",
                 .operations = 4.0 * CausalPairs(len, context) * static_cast<double>(columns),
                 .bytes = static_cast<double>(block_bytes) * context / kBlockSize +
                          static_cast<double>(2 * len * columns) * sizeof(Bf16)};
  if (!Wanted(one)) return;
  PagedCache cache(block_bytes, context);
  if (kv_dtype != DType::kBF16) {  // its scales are not any bits
    cache.view.dtype = kv_dtype;
    const int64_t kv_columns = int64_t{shape.num_kv_heads} * shape.head_dim;
    const Buffer kv = RandomBf16Buffer(context * kv_columns);
    const ConstMat rows(kv.data(), DType::kBF16, context, kv_columns);
    const SeqSpan all{0, context, 0, cache.ids.data()};
    kernels_.GqaStore(rows, rows, std::span(&all, 1), shape, cache.view);
  }
  const SeqSpan span{0, len, context - len, cache.ids.data()};
  const Buffer q = RandomBf16Buffer(len * columns), out = RandomBf16Buffer(len * columns);
  Measure(one, [&](size_t) {
    kernels_.GqaAttention(ConstMat(q.data(), DType::kBF16, len, columns), std::span(&span, 1), shape,
                          cache.view, Mat(out.data(), DType::kBF16, len, columns));
  });
}

void KernelBench::Mla(int32_t len, int32_t context, MlaForm form) {
  const MlaShape shape{
      .num_heads = 16, .kv_lora_rank = 512, .nope_dim = 128, .rope_dim = 64, .v_dim = 128, .scale = 0.07f};
  const int64_t heads = shape.num_heads, q_dim = shape.nope_dim + shape.rope_dim, rank = shape.kv_lora_rank;
  const int64_t kv_b_rows = heads * (shape.nope_dim + shape.v_dim);
  const size_t block_bytes = kernels_.MlaBlockBytes(shape, kBlockSize, DType::kBF16);
  const auto expansion = static_cast<double>(rank * (shape.nope_dim + shape.v_dim));  // of a token and head
  const bool absorbed = form == MlaForm::kAbsorbed;
  const double pairs = CausalPairs(len, context);
  const double products = absorbed ? len * expansion + pairs * static_cast<double>(2 * rank + shape.rope_dim)
                                   : context * expansion + pairs * static_cast<double>(q_dim + shape.v_dim);
  const Case one{
      .op = absorbed ? "attention mla absorbed" : "attention mla expanded",
      .shape = fmt::format("{} at {}, 16 heads, rank 512", len, context),
      .dtype = "bf16",
      .operations = 2.0 * static_cast<double>(heads) * products,
      .bytes = static_cast<double>(block_bytes) * context / kBlockSize +
               static_cast<double>(kv_b_rows * rank + len * heads * (q_dim + shape.v_dim)) * sizeof(Bf16)};
  if (!Wanted(one)) return;
  const PagedCache cache(block_bytes, context);
  const Buffer kv_b = RandomBf16Buffer(kv_b_rows * rank), q = RandomBf16Buffer(len * heads * q_dim),
               out = RandomBf16Buffer(len * heads * shape.v_dim);
  const auto packed =
      kernels_.PackKvB(ConstMat(kv_b.data(), DType::kBF16, kv_b_rows, rank), shape, DType::kBF16);
  const SeqSpan span{0, len, context - len, cache.ids.data()};
  Measure(one, [&](size_t) {
    kernels_.MlaAttention(ConstMat(q.data(), DType::kBF16, len, heads * q_dim), std::span(&span, 1), shape,
                          cache.view, *packed, Mat(out.data(), DType::kBF16, len, heads * shape.v_dim), form);
  });
}

void KernelBench::RunAttention() {
  if (options_.quick) {
    Gqa(32, 128, DType::kBF16);
    Gqa(32, 128, DType::kI8);
    Mla(8, 64, MlaForm::kExpanded);
    Mla(1, 64, MlaForm::kAbsorbed);
    return;
  }
  for (const DType kv_dtype : {DType::kBF16, DType::kI8}) {
    for (const int32_t context : {4096, 8192, 16384, 32768}) Gqa(2048, context, kv_dtype);
    for (const int32_t context : {4096, 32768}) Gqa(1, context, kv_dtype);
  }
  Mla(2048, 4096, MlaForm::kExpanded);
  Mla(2048, 16384, MlaForm::kExpanded);
  Mla(8, 4096, MlaForm::kAbsorbed);
  for (const int32_t context : {4096, 32768}) Mla(1, context, MlaForm::kAbsorbed);
}

}  // namespace penstock
