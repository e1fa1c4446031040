// Multi-head latent attention: the two forms, and the choice between them.
//
// Expanded, for spans of many queries. Per head and tile of keys, keys and values are made from the latents
// by one product and used at once by all queries of the span, so that they never leave the cache of the core:
//
//   latents [keys, rank] · W [rank, nope + v]  ->  keys [nope | rope], values [v]  ->  flash over the tile
//
// Absorbed, for a few queries: q_nope · W_uk are queries on the latents themselves; all heads attend as one
// group, whose keys are the latents and whose values are too; W_uv makes the output.
//
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/thread_team.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/kv_layout.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

constexpr int32_t kAbsorbedTokens = 64;  // absorbed at once: bounds the memory of latent queries
constexpr int32_t kHeadKeyTile = 128;
constexpr int32_t kHeadRowTile = 96;
constexpr int32_t kMinHeadPartKeys = 512;

float ReadAt(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(data)[i];
    case DType::kBF16:
      return ToFloat(static_cast<const Bf16*>(data)[i]);
    default:
      CHECK(dtype == DType::kF16) << DTypeName(dtype);
      return HalfToFloat(static_cast<const uint16_t*>(data)[i]);
  }
}

void WriteAt(void* data, DType dtype, int64_t i, float x) {
  if (dtype == DType::kF32)
    static_cast<float*>(data)[i] = x;
  else
    static_cast<Bf16*>(data)[i] = ToBf16(x);
}

// kv_b of one layer as product operands, dimensions padded: expand, per head [rank][nope + v], and absorb,
// per head [nope][rank].
class CpuPackedKvB : public PackedKvB {
 public:
  CpuPackedKvB(const MlaShape& shape, DType dtype) : shape_(shape), dtype_(dtype) {
    expand_ = Buffer(shape.num_heads * ExpandElements() * DTypeBytes(dtype));
    absorb_ = Buffer(shape.num_heads * AbsorbElements() * DTypeBytes(dtype));
  }
  // Of an Image() of such weights; null if it is none.
  static std::unique_ptr<CpuPackedKvB> Attach(const PackedImage& image, const MlaShape& shape) {
    if (image.numbers.size() != 1 || image.memory.size() != 2) return nullptr;
    const auto dtype = static_cast<DType>(image.numbers[0]);
    if (dtype != DType::kF32 && dtype != DType::kBF16) return nullptr;
    std::unique_ptr<CpuPackedKvB> attached(
        new CpuPackedKvB(shape, dtype, Buffer::Borrow(image.memory[0]), Buffer::Borrow(image.memory[1])));
    return attached->HasImage(image) ? std::move(attached) : nullptr;
  }

  size_t bytes() const override { return expand_.size() + absorb_.size(); }
  PackedImage Image() const override {
    return {.numbers = {static_cast<int64_t>(dtype_)},
            .memory = {std::span(expand_.as<const std::byte>(), Bytes(ExpandElements())),
                       std::span(absorb_.as<const std::byte>(), Bytes(AbsorbElements()))}};
  }
  DType dtype() const { return dtype_; }
  const MlaShape& shape() const { return shape_; }

  std::byte* Expand(int64_t head) const {
    return expand_.as<std::byte>() + head * ExpandElements() * DTypeBytes(dtype_);
  }
  std::byte* Absorb(int64_t head) const {
    return absorb_.as<std::byte>() + head * AbsorbElements() * DTypeBytes(dtype_);
  }
  // The columns of Expand that make values.
  std::byte* ExpandValues(int64_t head) const {
    return Expand(head) +
           OperandIndex(dtype_, 0, PadDim(shape_.nope_dim), ExpandColumns()) * DTypeBytes(dtype_);
  }
  int64_t ExpandColumns() const { return PadDim(shape_.nope_dim) + PadDim(shape_.v_dim); }

 private:
  CpuPackedKvB(const MlaShape& shape, DType dtype, Buffer expand, Buffer absorb)
      : shape_(shape), dtype_(dtype), expand_(std::move(expand)), absorb_(std::move(absorb)) {}

  size_t Bytes(int64_t elements_per_head) const {
    return static_cast<size_t>(shape_.num_heads * elements_per_head) * DTypeBytes(dtype_);
  }
  bool HasImage(const PackedImage& image) const {
    return image.memory[0].size() == Bytes(ExpandElements()) &&
           image.memory[1].size() == Bytes(AbsorbElements());
  }
  int64_t ExpandElements() const { return PadDim(shape_.kv_lora_rank) * ExpandColumns(); }
  int64_t AbsorbElements() const { return int64_t{PadDim(shape_.nope_dim)} * PadDim(shape_.kv_lora_rank); }

  MlaShape shape_;
  DType dtype_;
  Buffer expand_;
  Buffer absorb_;
};

const CpuPackedKvB& Unpack(const PackedKvB& kv_b, const KvLayerView& cache) {
  const auto& packed = dynamic_cast<const CpuPackedKvB&>(kv_b);
  CHECK(packed.dtype() == (cache.dtype == DType::kI8 ? DType::kBF16 : cache.dtype))
      << "kv_b is " << DTypeName(packed.dtype()) << ", the cache " << DTypeName(cache.dtype);
  return packed;
}

// Multiplications of both forms for a span, per head.
bool AbsorbedIsCheaper(const SeqSpan& span, const MlaShape& shape) {
  const double rank = shape.kv_lora_rank, expansion = rank * (shape.nope_dim + shape.v_dim);
  const double pairs = static_cast<double>(span.len) * (span.pos + (span.len + 1) / 2.0);
  const double expanded = (static_cast<double>(span.pos) + span.len) * expansion +
                          pairs * (shape.nope_dim + shape.rope_dim + shape.v_dim);
  const double absorbed = span.len * expansion + pairs * (2 * rank + shape.rope_dim);
  return absorbed < expanded;
}

}  // namespace

size_t CpuAttention::MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const {
  return LatentBlockBytes(shape, block_size, dtype);
}

std::unique_ptr<PackedKvB> CpuAttention::PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) const {
  CHECK(compute == DType::kF32 || compute == DType::kBF16) << DTypeName(compute);
  CHECK_EQ(kv_b.rows, int64_t{shape.num_heads} * (shape.nope_dim + shape.v_dim));
  CHECK_EQ(kv_b.cols, shape.kv_lora_rank);
  auto packed = std::make_unique<CpuPackedKvB>(shape, compute);
  const int64_t nope = PadDim(shape.nope_dim), rank = PadDim(shape.kv_lora_rank);
  const int64_t rows_per_head = shape.nope_dim + shape.v_dim;
  team_.ParallelFor(shape.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * rows_per_head; row < end * rows_per_head; ++row) {
      const int64_t head = row / rows_per_head, i = row % rows_per_head;
      const bool is_key = i < shape.nope_dim;
      const int64_t column = is_key ? i : nope + i - shape.nope_dim;
      for (int64_t r = 0; r < kv_b.cols; ++r) {
        const float x = ReadAt(kv_b.RowPtr(row), kv_b.dtype, r);
        WriteAt(packed->Expand(head), compute, OperandIndex(compute, r, column, packed->ExpandColumns()), x);
        if (is_key) WriteAt(packed->Absorb(head), compute, OperandIndex(compute, i, r, rank), x);
      }
    }
  });
  return packed;
}

std::unique_ptr<PackedKvB> CpuAttention::AttachKvB(const PackedImage& image, const MlaShape& shape) const {
  return CpuPackedKvB::Attach(image, shape);
}

void CpuAttention::MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans,
                            const MlaShape& shape, const KvLayerView& cache) {
  CHECK_EQ(latent.cols, shape.kv_lora_rank);
  CHECK_EQ(k_rope.cols, shape.rope_dim);
  CHECK_GE(cache.block_bytes, MlaBlockBytes(shape, cache.block_size, cache.dtype));
  const int64_t width = LatentWidth(shape), rank = PadDim(shape.kv_lora_rank);
  const int64_t row_bytes = width * static_cast<int64_t>(DTypeBytes(cache.dtype));
  for (const SeqSpan& span : spans) {
    team_.ParallelFor(span.len, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = (span.pos + i) % cache.block_size;
        const int32_t block = span.block_ids[(span.pos + i) / cache.block_size];
        CHECK(block >= 0 && block < cache.num_blocks) << block;
        std::byte* data = cache.data + block * cache.block_bytes;
        std::byte* row = data + at * row_bytes;
        std::memset(row, 0, row_bytes);
        const ConstMat parts[] = {latent.Rows(span.row + i, 1), k_rope.Rows(span.row + i, 1)};
        if (cache.dtype == DType::kI8) {
          auto* scales = reinterpret_cast<float*>(data + cache.block_size * row_bytes) + 2 * at;
          auto* bytes = reinterpret_cast<int8_t*>(row);
          scales[0] = ops_.quantize_row(parts[0].data, parts[0].dtype, 0, parts[0].cols, bytes);
          scales[1] = ops_.quantize_row(parts[1].data, parts[1].dtype, 0, parts[1].cols, bytes + rank);
          continue;
        }
        for (int64_t c = 0; c < latent.cols; ++c)
          WriteAt(row, cache.dtype, c, ReadAt(parts[0].data, latent.dtype, c));
        for (int64_t c = 0; c < k_rope.cols; ++c)
          WriteAt(row, cache.dtype, rank + c, ReadAt(parts[1].data, k_rope.dtype, c));
      }
    });
  }
}

void CpuAttention::MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                                const KvLayerView& cache, const PackedKvB& kv_b, Mat out, MlaForm form) {
  CHECK_EQ(q.cols, int64_t{shape.num_heads} * (shape.nope_dim + shape.rope_dim));
  CHECK_EQ(out.cols, int64_t{shape.num_heads} * shape.v_dim);
  CHECK_GT(shape.scale, 0.0f);
  absorbed_spans_.clear();
  int32_t absorbed_tokens = 0;
  auto flush_absorbed = [&] {
    if (absorbed_tokens > 0) AbsorbedAttention(q, absorbed_spans_, shape, cache, kv_b, out);
    absorbed_spans_.clear();
    absorbed_tokens = 0;
  };
  for (const SeqSpan& span : spans) {
    const bool absorb = form == MlaForm::kAuto ? AbsorbedIsCheaper(span, shape) : form == MlaForm::kAbsorbed;
    if (!absorb) {
      PlanExpanded(q, span, shape, cache, kv_b, out);
      continue;
    }
    for (int32_t done = 0; done < span.len;) {
      const int32_t len = std::min(span.len - done, kAbsorbedTokens - absorbed_tokens);
      absorbed_spans_.push_back({span.row + done, len, span.pos + done, span.block_ids});
      absorbed_tokens += len;
      done += len;
      if (absorbed_tokens == kAbsorbedTokens) flush_absorbed();
    }
  }
  flush_absorbed();
  const AttentionTypeOps& ops = ops_.For(cache.dtype);
  head_plan_.Run(team_, thread_scratch_, ops.mla_head, ops.mla_head_scratch_bytes, ops.merge);
}

void CpuAttention::PlanExpanded(ConstMat q, const SeqSpan& span, const MlaShape& shape,
                                const KvLayerView& cache, const PackedKvB& kv_b, Mat out) {
  const CpuPackedKvB& weights = Unpack(kv_b, cache);
  const int64_t q_dim = shape.nope_dim + shape.rope_dim;
  for (int32_t head = 0; head < shape.num_heads; ++head) {
    MlaHeadTask task;
    task.q = {q.Cols(head * q_dim, 0).RowPtr(span.row), q.dtype, q.stride, 1, span.pos};
    task.out = {out.Cols(int64_t{head} * shape.v_dim, 0).RowPtr(span.row), out.dtype, out.stride,
                shape.v_dim};
    task.keys = {cache, span.block_ids, 0, 0, PadDim(shape.kv_lora_rank)};
    task.shape = shape;
    task.kv_b_t = weights.Expand(head);
    task.value_dim = PadDim(shape.v_dim);
    task.num_queries = span.len;
    task.key_end = span.pos + span.len;
    task.key_tile = kHeadKeyTile;
    task.row_tile = kHeadRowTile;
    head_plan_.Add(task, int64_t{span.len} * (span.pos + span.len / 2 + 1), kMinHeadPartKeys);
  }
}

void CpuAttention::RunProducts(int64_t count, const AttentionTypeOps& ops,
                               FunctionRef<ProductTask(int64_t)> product) {
  if (count > 0) thread_scratch_.Reserve(ops.product_scratch_bytes(product(0)));  // all are of one size
  team_.ForEach(count,
                [&](int64_t i, int thread_idx) { ops.product(product(i), thread_scratch_.Get(thread_idx)); });
}

void CpuAttention::AbsorbedAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                                     const KvLayerView& cache, const PackedKvB& kv_b, Mat out) {
  const CpuPackedKvB& weights = Unpack(kv_b, cache);
  const AttentionTypeOps& ops = ops_.For(cache.dtype);
  const int32_t width = LatentWidth(shape), rank = PadDim(shape.kv_lora_rank);
  const int64_t q_dim = shape.nope_dim + shape.rope_dim, heads = shape.num_heads;
  absorbed_rows_.clear();
  for (const SeqSpan& span : spans) {
    for (int32_t i = 0; i < span.len; ++i) absorbed_rows_.push_back(span.row + i);
  }
  const auto num_tokens = static_cast<int32_t>(absorbed_rows_.size());
  const size_t q_bytes = num_tokens * heads * width * sizeof(float);
  const size_t out_bytes = num_tokens * heads * rank * sizeof(float);
  if (latent_q_.size() < q_bytes) latent_q_ = Buffer(q_bytes);
  if (latent_out_.size() < out_bytes) latent_out_ = Buffer(out_bytes);

  RunProducts(heads, ops, [&](int64_t head) {  // and, on the way, the rotated part, which stays as it is
    float* to = latent_q_.as<float>() + head * width;
    for (int32_t t = 0; t < num_tokens; ++t) {
      float* rope = to + t * heads * width + rank;
      std::fill_n(rope, width - rank, 0.0f);
      for (int32_t i = 0; i < shape.rope_dim; ++i) {
        rope[i] = ReadAt(q.RowPtr(absorbed_rows_[t]), q.dtype, head * q_dim + shape.nope_dim + i);
      }
    }
    return ProductTask{.x = q.Cols(head * q_dim, 0).data,
                       .x_dtype = q.dtype,
                       .x_stride = q.stride,
                       .x_rows = absorbed_rows_.data(),
                       .x_cols = shape.nope_dim,
                       .y = to,
                       .y_dtype = DType::kF32,
                       .y_stride = heads * width,
                       .y_cols = rank,
                       .b = weights.Absorb(head),
                       .b_stride = rank,
                       .num_rows = num_tokens,
                       .k = PadDim(shape.nope_dim),
                       .n = rank};
  });

  int64_t token = 0;
  for (const SeqSpan& span : spans) {
    FlashTask task;
    task.q = {latent_q_.as<float>() + token * heads * width, DType::kF32, heads * width, shape.num_heads,
              span.pos};
    task.out = {latent_out_.as<float>() + token * heads * rank, DType::kF32, heads * rank, rank};
    task.keys = {cache, span.block_ids, 0, 0, rank};
    task.key_dim = width;
    task.value_dim = rank;
    task.scale = shape.scale;
    task.row_end = span.len * shape.num_heads;
    PlanFlash(task);
    token += span.len;
  }
  flash_plan_.Run(team_, thread_scratch_, ops.flash_latent, ops.flash_latent_scratch_bytes, ops.merge);

  RunProducts(heads, ops, [&](int64_t head) {
    return ProductTask{.x = latent_out_.as<float>() + head * rank,
                       .x_dtype = DType::kF32,
                       .x_stride = heads * rank,
                       .x_cols = rank,
                       .y = out.Cols(head * shape.v_dim, 0).data,
                       .y_dtype = out.dtype,
                       .y_stride = out.stride,
                       .y_rows = absorbed_rows_.data(),
                       .y_cols = shape.v_dim,
                       .b = weights.ExpandValues(head),
                       .b_stride = weights.ExpandColumns(),
                       .num_rows = num_tokens,
                       .k = rank,
                       .n = PadDim(shape.v_dim)};
  });
}

}  // namespace penstock
