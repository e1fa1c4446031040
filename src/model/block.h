// The two halves of a decoder layer: attention and MLP. Each adds its share to the residual stream.
//
//   residual += attention(norm(residual));  residual += mlp(norm(residual))
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "model/workspace.h"

namespace penstock {

// What a layer sees of a step.
struct LayerStep {
  Kernels& kernels;
  Workspace& workspace;
  const RopeTable& rope;
  std::span<const int32_t> positions;  // [num_tokens]
  std::span<const SeqSpan> spans;
  KvLayerView kv;
  std::span<const SeqSpan> query_spans;  // the parts of spans whose output is wanted
};

// body(begin, count) for each run of neighbouring rows of `spans`, which are in order.
template <typename Body>
void ForRowRuns(std::span<const SeqSpan> spans, const Body& body) {
  for (size_t i = 0; i < spans.size();) {
    const int64_t begin = spans[i].row;
    int64_t end = begin;
    for (; i < spans.size() && spans[i].row == end; ++i) end += spans[i].len;
    body(begin, end - begin);
  }
}

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

  // residual += f(x). x, residual: [num_tokens, hidden_dim] in the activation type, not the same memory.
  // Attention: residual of the rows of step.query_spans.
  virtual void Forward(const LayerStep& step, ConstMat x, Mat residual) const = 0;

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
