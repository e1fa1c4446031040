// Attention over paged keys and values: two passes over the scores of one query and head at a time.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "kernels/ref/ref_kernels.h"

namespace penstock {
namespace {

// Where position `pos` of a span's sequence lies: `offset` elements into its block, plus `token_elements` for
// every token of the block before it.
std::byte* CacheElement(const KvLayerView& cache, const SeqSpan& span, int32_t pos, int64_t offset,
                        int64_t token_elements) {
  const int32_t block = span.block_ids[pos / cache.block_size];
  CHECK(block >= 0 && block < cache.num_blocks) << block;
  const int64_t index = offset + (pos % cache.block_size) * token_elements;
  return cache.data + block * cache.block_bytes + index * DTypeBytes(cache.dtype);
}

// Elements that `count` numbers take in a cache of `dtype`: of bytes, their scale lies behind them.
int64_t StoredElements(int64_t count, DType dtype) {
  return count + (dtype == DType::kI8 ? static_cast<int64_t>(sizeof(float)) : 0);
}

struct ByteRow {
  std::vector<int8_t> bytes;
  float scale = 0.0f;
};

// kernels.h, KvLayerView.
ByteRow ToBytes(std::span<const float> row) {
  constexpr float kMaxByte = 127.0f;
  float largest = 0.0f;
  for (const float x : row) largest = std::max(largest, std::fabs(x));
  const float inverse = largest > 0.0f ? kMaxByte / largest : 0.0f;
  ByteRow result{{}, largest / kMaxByte};
  for (const float x : row) result.bytes.push_back(static_cast<int8_t>(std::nearbyint(x * inverse)));
  return result;
}

std::vector<float> FromBytes(const int8_t* bytes, int64_t count, float scale) {
  std::vector<float> row(count);
  for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(bytes[i]) * scale;
  return row;
}

void WriteStored(std::byte* data, DType dtype, std::span<const float> row) {
  if (dtype != DType::kI8) return WriteFloats(data, dtype, row);
  const ByteRow stored = ToBytes(row);
  std::memcpy(data, stored.bytes.data(), stored.bytes.size());
  std::memcpy(data + stored.bytes.size(), &stored.scale, sizeof(float));
}

std::vector<float> ReadStored(const std::byte* data, DType dtype, int64_t count) {
  if (dtype != DType::kI8) return ReadFloats(data, dtype, count);
  float scale = 0.0f;
  std::memcpy(&scale, data + count, sizeof(scale));
  return FromBytes(reinterpret_cast<const int8_t*>(data), count, scale);
}

double Dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

using Rows = std::vector<std::vector<float>>;

// `count` elements of each of the first `num_tokens` positions; offset and token_elements as above.
Rows ReadTokens(const KvLayerView& cache, const SeqSpan& span, int32_t num_tokens, int64_t offset,
                int64_t token_elements, int64_t count) {
  Rows rows;
  for (int32_t pos = 0; pos < num_tokens; ++pos) {
    rows.push_back(ReadStored(CacheElement(cache, span, pos, offset, token_elements), cache.dtype, count));
  }
  return rows;
}

// out[v_dim] = sum of softmax_i(scale * q · keys[i]) * values[i], i in [0, num_keys). Only the first v_dim
// numbers of a value count.
std::vector<float> Attend(const std::vector<float>& q, float scale, int32_t num_keys, const Rows& keys,
                          const Rows& values, int32_t v_dim) {
  std::vector<double> scores(num_keys);
  for (int32_t i = 0; i < num_keys; ++i) {
    scores[i] = scale * Dot(q.data(), keys[i].data(), static_cast<int64_t>(q.size()));
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> acc(v_dim, 0.0);
  for (int32_t i = 0; i < num_keys; ++i) {
    const double weight = std::exp(scores[i] - max);
    sum += weight;
    for (int32_t d = 0; d < v_dim; ++d) acc[d] += weight * values[i][d];
  }
  std::vector<float> out(v_dim);
  for (int32_t d = 0; d < v_dim; ++d) out[d] = static_cast<float>(acc[d] / sum);
  return out;
}

std::vector<float> Slice(const std::vector<float>& row, int64_t begin, int64_t count) {
  return std::vector<float>(row.begin() + begin, row.begin() + begin + count);
}

// rows[n, k] · x[k].
std::vector<float> Product(const float* rows, int64_t n, int64_t k, const float* x) {
  std::vector<float> y(n);
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<float>(Dot(rows + i * k, x, k));
  return y;
}

// By the definition: the keys and values of every token are made from its latent, for this head.
void ExpandHead(const Rows& latents, const MlaShape& shape, const RefPackedKvB& kv_b, int32_t head,
                Rows& keys, Rows& values) {
  for (const std::vector<float>& latent : latents) {
    keys.push_back(Product(kv_b.KeyRows(head), shape.nope_dim, shape.kv_lora_rank, latent.data()));
    keys.back().insert(keys.back().end(), latent.begin() + shape.kv_lora_rank, latent.end());
    values.push_back(Product(kv_b.ValueRows(head), shape.v_dim, shape.kv_lora_rank, latent.data()));
  }
}

// By associativity: q · (W_uk c) = (q W_uk) · c, and the sum of p W_uv c is W_uv times the sum of p c.
std::vector<float> AbsorbedAttend(const std::vector<float>& q, int32_t num_keys, const Rows& latents,
                                  const MlaShape& shape, const RefPackedKvB& kv_b, int32_t head) {
  const int32_t rank = shape.kv_lora_rank;
  std::vector<float> latent_q(rank, 0.0f);
  for (int32_t d = 0; d < shape.nope_dim; ++d) {
    for (int32_t i = 0; i < rank; ++i) latent_q[i] += q[d] * kv_b.KeyRows(head)[int64_t{d} * rank + i];
  }
  latent_q.insert(latent_q.end(), q.begin() + shape.nope_dim, q.end());
  const std::vector<float> latent_out = Attend(latent_q, shape.scale, num_keys, latents, latents, rank);
  return Product(kv_b.ValueRows(head), shape.v_dim, rank, latent_out.data());
}

}  // namespace

size_t RefKernels::GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const {
  return size_t{2} * block_size * shape.num_kv_heads * StoredElements(shape.head_dim, dtype) *
         DTypeBytes(dtype);
}

size_t RefKernels::MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const {
  return block_size * DTypeBytes(dtype) *
         (StoredElements(shape.kv_lora_rank, dtype) + StoredElements(shape.rope_dim, dtype));
}

void RefKernels::GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                          const KvLayerView& cache) {
  const int64_t dim = shape.head_dim, head_elements = StoredElements(dim, cache.dtype);
  const int64_t token_elements = shape.num_kv_heads * head_elements;
  CHECK_EQ(k.cols, shape.num_kv_heads * dim);
  CHECK_EQ(v.cols, k.cols);
  CHECK_GE(cache.block_bytes, GqaBlockBytes(shape, cache.block_size, cache.dtype));
  const auto store = [&](const SeqSpan& span, int32_t i, const ConstMat& rows, int64_t offset) {
    const std::vector<float> row = ReadRow(rows, span.row + i);
    for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
      const int64_t at = offset + head * head_elements;
      WriteStored(CacheElement(cache, span, span.pos + i, at, token_elements), cache.dtype,
                  std::span(row).subspan(head * dim, dim));
    }
  };
  for (const SeqSpan& span : spans) {
    for (int32_t i = 0; i < span.len; ++i) {
      store(span, i, k, 0);
      store(span, i, v, cache.block_size * token_elements);
    }
  }
}

void RefKernels::GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                              const KvLayerView& cache, Mat out) {
  CHECK_EQ(q.cols, int64_t{shape.num_heads} * shape.head_dim);
  CHECK_EQ(out.cols, q.cols);
  CHECK_EQ(shape.num_heads % shape.num_kv_heads, 0);
  const int32_t dim = shape.head_dim;
  const int64_t head_elements = StoredElements(dim, cache.dtype);
  const int64_t token_elements = shape.num_kv_heads * head_elements;
  for (const SeqSpan& span : spans) {
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      const int64_t kv_head = h / (shape.num_heads / shape.num_kv_heads);
      const Rows keys =
          ReadTokens(cache, span, span.pos + span.len, kv_head * head_elements, token_elements, dim);
      const Rows values =
          ReadTokens(cache, span, span.pos + span.len,
                     cache.block_size * token_elements + kv_head * head_elements, token_elements, dim);
      for (int32_t i = 0; i < span.len; ++i) {
        std::vector<float> query = Slice(ReadRow(q, span.row + i), int64_t{h} * dim, dim);
        if (cache.dtype == DType::kI8) {
          const ByteRow bytes = ToBytes(query);
          query = FromBytes(bytes.bytes.data(), dim, bytes.scale);
        }
        const std::vector<float> result = Attend(query, shape.scale, span.pos + i + 1, keys, values, dim);
        WriteRow(out, span.row + i, result, int64_t{h} * dim);
      }
    }
  }
}

void RefKernels::MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans,
                          const MlaShape& shape, const KvLayerView& cache) {
  CHECK_EQ(latent.cols, shape.kv_lora_rank);
  CHECK_EQ(k_rope.cols, shape.rope_dim);
  CHECK_GE(cache.block_bytes, MlaBlockBytes(shape, cache.block_size, cache.dtype));
  const int64_t rank_elements = StoredElements(shape.kv_lora_rank, cache.dtype);
  const int64_t token_elements = rank_elements + StoredElements(shape.rope_dim, cache.dtype);
  for (const SeqSpan& span : spans) {
    for (int32_t i = 0; i < span.len; ++i) {
      const int32_t pos = span.pos + i;
      WriteStored(CacheElement(cache, span, pos, 0, token_elements), cache.dtype,
                  ReadRow(latent, span.row + i));
      WriteStored(CacheElement(cache, span, pos, rank_elements, token_elements), cache.dtype,
                  ReadRow(k_rope, span.row + i));
    }
  }
}

void RefKernels::MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                              const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) {
  const auto& weights = dynamic_cast<const RefPackedKvB&>(kv_b);
  const int64_t q_dim = shape.nope_dim + shape.rope_dim;
  const int64_t rank = shape.kv_lora_rank, rope = shape.rope_dim;
  const int64_t rank_elements = StoredElements(rank, cache.dtype);
  const int64_t token_elements = rank_elements + StoredElements(rope, cache.dtype);
  CHECK_EQ(q.cols, shape.num_heads * q_dim);
  CHECK_EQ(out.cols, int64_t{shape.num_heads} * shape.v_dim);
  for (const SeqSpan& span : spans) {
    const int32_t context = span.pos + span.len;
    Rows latents = ReadTokens(cache, span, context, 0, token_elements, rank);
    const Rows rotated = ReadTokens(cache, span, context, rank_elements, token_elements, rope);
    for (int32_t i = 0; i < context; ++i)
      latents[i].insert(latents[i].end(), rotated[i].begin(), rotated[i].end());
    for (int32_t h = 0; h < shape.num_heads; ++h) {
      Rows keys, values;
      if (form != MlaForm::kAbsorbed) ExpandHead(latents, shape, weights, h, keys, values);
      for (int32_t i = 0; i < span.len; ++i) {
        const std::vector<float> query = Slice(ReadRow(q, span.row + i), h * q_dim, q_dim);
        const int32_t num_keys = span.pos + i + 1;
        const std::vector<float> result =
            form == MlaForm::kAbsorbed ? AbsorbedAttend(query, num_keys, latents, shape, weights, h)
                                       : Attend(query, shape.scale, num_keys, keys, values, shape.v_dim);
        WriteRow(out, span.row + i, result, int64_t{h} * shape.v_dim);
      }
    }
  }
}

}  // namespace penstock
