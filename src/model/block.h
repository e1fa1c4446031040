// The two halves of a decoder layer: attention and MLP. Each adds its share to the residual stream.
//
//   residual += attention(norm(residual));  residual += mlp(norm(residual))
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/context_split.h"
#include "model/rank_share.h"
#include "model/row_sharing.h"
#include "model/workspace.h"

namespace penstock {

class ExpertExchange;
class ExpertLoad;

// What a layer sees of a step: the rows that this rank works on. Where tokens are shared among ranks, those
// of `context`; the rows that ranks of a tensor-parallel group keep between blocks are `sharing`'s business.
struct LayerStep {
  Kernels& kernels;
  Workspace& workspace;
  const RopeTable& rope;
  std::span<const int32_t> positions;  // [num_tokens]
  std::span<const SeqSpan> spans;
  KvLayerView kv;
  // The rows whose output is wanted, rising; absent: all. query_spans are the spans of those only, with their
  // rows counted among them.
  std::optional<std::span<const int32_t>> query_rows;
  std::span<const SeqSpan> query_spans;
  RowSharing sharing;
  const ContextSplit& context;
  const RankComms& comms;
  ExpertExchange* expert_exchange = nullptr;  // where experts are spread over ranks
  ExpertLoad* expert_load = nullptr;          // null: choices are not counted

  // The rows of x whose output is wanted, which are copied where they are not all.
  Mat QueryRows(const Mat& x) const;

  // y = x · wᵀ (+ bias) of all rows, where the rank has at least those of x that it keeps. What is gathered
  // is x, or the bytes that it is quantised to, which are half as many.
  void GatheredProduct(const Mat& x, const PackedMat& w, const float* bias, const Mat& y) const;
  static size_t GatheredProductBytes(const RankShare& share, int64_t rows, int64_t cols);

  // residual += x · wᵀ (+ bias), summed over the ranks that share the product.
  void AddProduct(ConstMat x, const PackedMat& w, const float* bias, const Mat& residual) const;
};

// A bias, which may be absent, as Linear() takes it.
inline const float* DataOrNull(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

// Of an RMSNorm.
struct NormWeights {
  std::vector<float> weight;
  std::vector<float> bias;  // added to what is normed; empty: none
};

class Block {
 public:
  virtual ~Block() = default;

  // residual += f(x). x: [num_tokens, hidden_dim] in the activation type, without gaps, which may be written
  // to; under sequence parallelism only the rows that the rank keeps are there. residual: of the rows whose
  // output is wanted (attention), or as many rows as x (MLP); not the same memory.
  virtual void Forward(const LayerStep& step, const Mat& x, const Mat& residual) const = 0;

  // What Forward() takes of the workspace for so many tokens.
  virtual size_t WorkspaceBytes(int64_t num_tokens, DType dtype) const = 0;

  // What the kernels that Forward() calls take for themselves, where it grows with the tokens.
  virtual size_t KernelScratchBytes(int64_t /*num_tokens*/) const { return 0; }
};

class Attention : public Block {
 public:
  // Bytes of one KV block of this layer.
  virtual size_t KvBlockBytes(const Kernels& kernels, int32_t block_size, DType dtype) const = 0;
};

struct DecoderLayer {
  NormWeights attention_norm;  // [hidden_dim]
  std::unique_ptr<Attention> attention;
  NormWeights mlp_norm;  // [hidden_dim]
  std::unique_ptr<Block> mlp;
};

}  // namespace penstock
