// Kernels: every operation on tensors that a model is made of, as one table of a rank's device.
//
//   ref/   the obvious fp32 loops: the definition of each operation, never optimised
//   cpu/   AVX2, AVX-512, AVX-512 BF16, chosen at run time
//
// A model calls these and never asks which device it runs on. Kernels know no model and no request. All
// matrices are row-major views (tensor/mat.h) with one row per token. Activations are bf16 or fp32 (one of
// them throughout a model, "the activation type" below); accumulation, norms, rotary embedding, softmax and
// routing are in fp32.
//
// A Kernels object belongs to one rank: its methods are called from that rank's thread only, and use the
// rank's ThreadTeam and the object's own scratch memory. Shapes are the caller's duty: a mismatch is a CHECK
// failure.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "tensor/mat.h"
#include "tensor/packed_image.h"

namespace penstock {

class ThreadTeam;

// A weight matrix [n, k] (out, in) in the device's own layout, made once at load.
class PackedMat {
 public:
  virtual ~PackedMat() = default;
  virtual int64_t n() const = 0;
  virtual int64_t k() const = 0;
  virtual size_t bytes() const = 0;  // memory held
  // For Kernels::AttachMat().
  virtual PackedImage Image() const { return {}; }
};

// The longest row of 8-bit weights: sums of 255 * -128 stay within 32 bits.
constexpr int64_t kMaxInt8K = 65536;

// Rows of a weight matrix as 8-bit integers, symmetric, and how their input is quantised (W8A8). With W the
// integers:
//
//   dynamic (input_scale 0): a scale for each token
//     s_t = max|x_t| / 127      q = round(x / s_t)
//     y = (q · Wᵀ) * s_t * weight_scale
//   static: one scale and offset for all tokens
//     q = clamp(round(x / input_scale + input_offset), -128, 127)
//     y = (q · Wᵀ + quant_bias) * deq_scale
//
// to which Linear()'s own bias is added. Rounding is to the nearest, ties to even. A token of no number above
// 1e-30 has s_t = 0; one that is not finite makes dynamic y NaN. k is at most kMaxInt8K.
struct Int8Part {
  const int8_t* weight = nullptr;  // [n, k], rows one after the other
  int64_t n = 0;
  int64_t k = 0;
  const float* weight_scale = nullptr;  // [n]; dynamic
  float input_scale = 0;                // > 0: static
  int32_t input_offset = 0;             // -128 … 127
  const float* deq_scale = nullptr;     // [n]; static: input_scale * weight_scale
  const int32_t* quant_bias = nullptr;  // [n]; static
};

// The tokens of one sequence in a batch: rows [row, row + len) of the batch are its positions [pos, pos +
// len). block_ids[i] is the block of positions [i * block_size, (i + 1) * block_size).
struct SeqSpan {
  int32_t row = 0;
  int32_t len = 0;
  int32_t pos = 0;
  const int32_t* block_ids = nullptr;  // [ceil((pos + len) / block_size)]
};

// The keys and values of one layer: num_blocks blocks of block_bytes each, from `data`. What is inside a
// block is the backend's business (see cpu/kv_layout.h).
//
// A cache of bytes (i8) holds each row of numbers x (the key or the value of a token and kv head; of latent
// attention a token's latent, and its rotated key) as round(x / scale), to nearest, ties to even, with scale
// = max |x| / 127. Of grouped-query attention, queries are made bytes in the same way, row by row, and what
// is summed over values may be rounded to 1/255 of its largest among some keys (a tile of at least 64).
struct KvLayerView {
  std::byte* data = nullptr;
  size_t block_bytes = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 0;  // tokens per block: a multiple of 16
  DType dtype = DType::kBF16;
};

// Grouped-query attention: query head h reads key/value head h / (num_heads / num_kv_heads).
struct GqaShape {
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;  // a multiple of 16
  float scale = 0.0f;    // applied to q·k
};

// Multi-head latent attention (DeepSeek-V2/V3). The cache holds kv_lora_rank + rope_dim numbers per token.
struct MlaShape {
  int32_t num_heads = 0;
  int32_t kv_lora_rank = 0;  // r
  int32_t nope_dim = 0;      // of q and k, without position
  int32_t rope_dim = 0;      // of q and k, rotated; shared by all heads on the k side
  int32_t v_dim = 0;
  float scale = 0.0f;
};

// kv_b_proj of one layer in the forms that both kinds of latent attention need.
class PackedKvB {
 public:
  virtual ~PackedKvB() = default;
  virtual size_t bytes() const = 0;
  // For Kernels::AttachKvB().
  virtual PackedImage Image() const { return {}; }
};

// Positions that a cache may keep in one word, together.
constexpr int32_t kStoreGrain = 16;

enum class MlaForm {
  kAuto,      // whichever costs less arithmetic for the span
  kExpanded,  // keys and values made from the latents, in bounded segments, for all queries of the span:
              // prefill
  kAbsorbed,  // kv_b absorbed into q and the output; attention over the latents themselves: decode
};

// How router logits become expert choices.
struct RouterShape {
  enum class Score { kSoftmax, kSigmoid };
  Score score = Score::kSoftmax;
  int32_t num_experts = 0;
  int32_t top_k = 0;
  bool normalize = true;   // divide the chosen weights by their sum (+1e-20 for sigmoid, as DeepSeek does)
  float scaling = 1.0f;    // routed_scaling_factor
  int32_t num_groups = 1;  // group-limited choice: score of a group = sum of its two best (biased) scores
  int32_t top_k_groups = 1;
  const float* bias = nullptr;  // [num_experts] e_score_correction_bias: moves the choice, not the weight
};

// The experts of one layer: gate_up[e] is [2 * inter, hidden] (gate rows, then up rows), down[e] [hidden,
// inter]. Both are null where the rank does not have the expert: then nobody chooses it here.
struct ExpertWeights {
  std::vector<std::unique_ptr<PackedMat>> gate_up;
  std::vector<std::unique_ptr<PackedMat>> down;

  // The first expert that the rank has; -1: none.
  int64_t FirstHeld() const {
    for (size_t e = 0; e < down.size(); ++e) {
      if (down[e] != nullptr) return static_cast<int64_t>(e);
    }
    return -1;
  }
};

// cos and sin of the angles for every position: cos[pos * (dim / 2) + i]. `dim` numbers of a head are
// rotated.
struct RopeTable {
  int32_t dim = 0;
  int32_t max_positions = 0;
  std::vector<float> cos;
  std::vector<float> sin;
};

enum class RopeStyle {
  kHalf,        // pairs (i, i + dim/2): Llama, Qwen in Hugging Face layout
  kInterleaved  // pairs (2i, 2i + 1): DeepSeek; written back as it stood, pair by pair
};

// What is done to fresh rows of q and k before attention. A norm that is null is left out.
struct GqaNormRope {
  const float* q_norm = nullptr;  // [head_dim]
  const float* k_norm = nullptr;  // [head_dim]
  float eps = 0.0f;
  std::span<const int32_t> positions;  // [tokens]
  const RopeTable* rope = nullptr;
  RopeStyle style = RopeStyle::kHalf;
};

class Kernels {
 public:
  virtual ~Kernels() = default;

  // "ref", "avx2", "avx512", "avx512_vnni", "avx512_bf16", …
  virtual std::string_view name() const = 0;

  // Runs body(begin, end) over pieces of [0, count) on the rank's threads: for work that is none of the
  // operations below, such as converting weights as they are loaded.
  virtual void ParallelFor(int64_t count, FunctionRef<void(int64_t begin, int64_t end)> body) {
    body(0, count);
  }

  // --- weights
  // -------------------------------------------------------------------------------------------------

  // Packs the rows of `parts`, one below the other, as one matrix [sum of rows, k]. Each part is f32, f16 or
  // bf16, [n_i, k]; it is read once and may be unmapped afterwards. `compute` is the type held: bf16 or f32.
  virtual std::unique_ptr<PackedMat> Pack(std::span<const ConstMat> parts, DType compute) = 0;

  // The same of parts that are held, and multiplied, as 8-bit integers; Linear() and MoeMlp() then quantise
  // their input as the parts say. All parts are of one kind (static or dynamic), and static ones share their
  // input's scale and offset. Null where these kernels cannot (yet).
  virtual std::unique_ptr<PackedMat> PackInt8(std::span<const Int8Part> /*parts*/) { return nullptr; }

  // kv_b: [num_heads * (nope_dim + v_dim), kv_lora_rank], head by head: nope_dim key rows, then v_dim value
  // rows.
  virtual std::unique_ptr<PackedKvB> PackKvB(ConstMat kv_b, const MlaShape& shape, DType compute) = 0;

  // Names how weights are packed: kernels of the same answer can attach each other's. Empty: none can be.
  virtual std::string PackedLayout() const { return {}; }

  // The weight that had this image, over the same memory, which outlives it. Null if it is no such image.
  virtual std::unique_ptr<PackedMat> AttachMat(const PackedImage& /*image*/) { return nullptr; }
  virtual std::unique_ptr<PackedKvB> AttachKvB(const PackedImage& /*image*/, const MlaShape& /*shape*/) {
    return nullptr;
  }

  // --- dense operations
  // ----------------------------------------------------------------------------------------

  // y[m, n] = x[m, k] · wᵀ (+ bias[n] where not null) (+ y where accumulate). x in the activation type; y in
  // the activation type or f32.
  virtual void Linear(ConstMat x, const PackedMat& w, Mat y, const float* bias = nullptr,
                      bool accumulate = false) = 0;

  // The first half of Linear() where w is held as 8-bit integers: x as it is then multiplied, in the kernels'
  // own form; so that ranks may exchange it. q: [rows, QuantizedCols(w)], kI8, without gaps; scales: [rows],
  // of dynamic inputs only. QuantizedCols() is 0 where these kernels have no such halves for w.
  virtual int64_t QuantizedCols(const PackedMat& /*w*/) const { return 0; }
  virtual void Quantize(ConstMat /*x*/, const PackedMat& /*w*/, Mat /*q*/, float* /*scales*/) {}
  // The second half.
  virtual void LinearQuantized(ConstMat /*q*/, const float* /*scales*/, const PackedMat& /*w*/, Mat /*y*/,
                               const float* /*bias*/ = nullptr) {}

  // y[i] = table[ids[i]]. table: [vocab, hidden] f32, f16 or bf16; y in the activation type.
  virtual void Embed(std::span<const int32_t> ids, ConstMat table, Mat y) = 0;

  // y = x / sqrt(mean(x²) + eps) * weight (+ bias where not null), row by row. weight, bias: [cols]. x and y
  // may be the same memory. Rows may be heads: a view of [tokens * heads, head_dim].
  virtual void RmsNorm(ConstMat x, const float* weight, float eps, Mat y, const float* bias = nullptr) = 0;

  // RmsNorm of each head, in place. x: [tokens, columns]; head h is the head_dim columns from h * head_dim
  // on, in the first num_heads * head_dim columns. weight, bias: [head_dim].
  virtual void HeadRmsNorm(Mat x, int32_t num_heads, int32_t head_dim, const float* weight, float eps,
                           const float* bias = nullptr) {
    for (int32_t h = 0; h < num_heads; ++h) {
      const Mat head = x.Cols(int64_t{h} * head_dim, head_dim);
      RmsNorm(head, weight, eps, head, bias);
    }
  }

  // residual += x; y = RmsNorm(residual). All in the activation type (the sum is rounded before it is
  // normed).
  virtual void AddRmsNorm(Mat residual, ConstMat x, const float* weight, float eps, Mat y,
                          const float* bias = nullptr) = 0;

  // y += x.
  virtual void Add(ConstMat x, Mat y) = 0;

  // Rotates the first table.dim numbers of each head, in place. x: [tokens, num_heads * head_stride], head h
  // begins at column h * head_stride; positions[t] is the position of row t.
  virtual void Rope(Mat x, int32_t num_heads, int32_t head_stride, std::span<const int32_t> positions,
                    const RopeTable& table, RopeStyle style) = 0;

  // y[t, i] = silu(gate_up[t, i]) * gate_up[t, inter + i], i in [0, inter). gate_up: [tokens, 2 * inter].
  virtual void SiluMul(ConstMat gate_up, Mat y) = 0;

  // --- attention over paged keys and values
  // ----------------------------------------------------------------------

  // Bytes of one block of one layer.
  virtual size_t GqaBlockBytes(const GqaShape& shape, int32_t block_size, DType dtype) const = 0;
  virtual size_t MlaBlockBytes(const MlaShape& shape, int32_t block_size, DType dtype) const = 0;

  // Writes the keys and values of the spans' tokens into their blocks. Of each kStoreGrain positions
  // (aligned) of a sequence, an earlier one may not be written after a later one. k, v: [tokens, num_kv_heads
  // * head_dim].
  virtual void GqaStore(ConstMat k, ConstMat v, std::span<const SeqSpan> spans, const GqaShape& shape,
                        const KvLayerView& cache) = 0;

  // HeadRmsNorm of q and of k, Rope of both, and GqaStore of k and v, in one pass where that is possible;
  // what is between norm and rotation need not be rounded then. q: [tokens, num_heads * head_dim], in place,
  // as k.
  virtual void GqaNormRopeStore(Mat q, Mat k, ConstMat v, const GqaNormRope& how,
                                std::span<const SeqSpan> spans, const GqaShape& shape,
                                const KvLayerView& cache);

  // Causal attention of each span's queries over positions [0, pos + i] of its sequence, whose keys and
  // values, those of this step included, are in the cache. q, out: [tokens, num_heads * head_dim]. Memory
  // does not grow with span length × context.
  virtual void GqaAttention(ConstMat q, std::span<const SeqSpan> spans, const GqaShape& shape,
                            const KvLayerView& cache, Mat out) = 0;

  // Writes latents [tokens, kv_lora_rank] (normed) and rotated keys [tokens, rope_dim].
  virtual void MlaStore(ConstMat latent, ConstMat k_rope, std::span<const SeqSpan> spans,
                        const MlaShape& shape, const KvLayerView& cache) = 0;

  // As GqaAttention. q: [tokens, num_heads * (nope_dim + rope_dim)], nope first; out: [tokens, num_heads *
  // v_dim].
  virtual void MlaAttention(ConstMat q, std::span<const SeqSpan> spans, const MlaShape& shape,
                            const KvLayerView& cache, const PackedKvB& kv_b, Mat out,
                            MlaForm form = MlaForm::kAuto) = 0;

  // --- mixture of experts
  // ----------------------------------------------------------------------------------------

  // Chooses experts. logits: f32 [tokens, num_experts]; ids, weights: [tokens * top_k], in falling order of
  // the (biased) score.
  virtual void RouteTopK(ConstMat logits, const RouterShape& shape, int32_t* ids, float* weights) = 0;

  // y[t] += sum over j of weights[t, j] * down[e](silu(gate) * up)(x[t]), e = ids[t, j]. Tokens are sorted by
  // expert and each expert does one product over its own. x, y: [tokens, hidden]. A choice of -1 is none: it
  // is another rank's to compute.
  virtual void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
                      const ExpertWeights& experts, Mat y) = 0;

  // The same where x has been through Quantize() with one of the experts' gate_up, which all take it as that
  // one does: those with dynamic inputs. q: [rows, QuantizedCols()], perhaps with gaps between rows.
  virtual void MoeMlpQuantized(ConstMat /*q*/, const float* /*scales*/, const int32_t* /*ids*/,
                               const float* /*weights*/, int32_t /*top_k*/, const ExpertWeights& /*experts*/,
                               Mat /*y*/) {}

  // Scratch memory held at present (for the memory report).
  virtual size_t scratch_bytes() const = 0;
};

// The definition of every operation. `team` may be null (one thread).
std::unique_ptr<Kernels> MakeRefKernels();

// The fastest kernels that this processor can run. `isa`: "auto", or a name to force ("avx2", "avx512",
// "avx512_vnni", "avx512_bf16", "generic"); null if this processor or build lacks it. `team` outlives the
// kernels.
std::unique_ptr<Kernels> MakeCpuKernels(ThreadTeam& team, std::string_view isa = "auto");

// The names that MakeCpuKernels accepts on this machine, best first.
std::vector<std::string_view> UsableCpuIsas();

}  // namespace penstock
