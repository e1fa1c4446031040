// ContextSplit: the tokens of a step, cut among the ranks of a prefill-context-parallel group.
//
// Each chunk is cut in 2 n parts, and rank r has part r and part 2 n - 1 - r: a part's attention costs the
// more the later it is, so that all ranks have about the same (head and tail; Llama 3, arXiv:2407.21783,
// section 3.3.2). Chunks take turns with who is r = 0, so that single tokens are spread too. Every rank keeps
// the keys and values of all tokens: what is sent in each layer is those of the new tokens only, never the
// history.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "comm/communicator.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "model/workspace.h"

namespace penstock {

class ContextSplit {
 public:
  // `comm`: of the ranks that share the tokens. Null: one rank, which has all of them.
  explicit ContextSplit(Communicator* comm) : comm_(comm) {}

  bool is_shared() const { return comm_ != nullptr; }

  // Cuts a batch, which outlives what is asked of it below. Rows of a rank are its tokens in the order of the
  // chunks.
  void Cut(const ModelBatch& batch);

  // This rank's.
  int64_t num_rows() const { return static_cast<int64_t>(token_ids_.size()); }
  std::span<const int32_t> token_ids() const { return token_ids_; }
  std::span<const int32_t> positions() const { return positions_; }
  std::span<const SeqSpan> spans() const { return spans_[rank()]; }

  // The rank that has a row of the batch, and which of its rows it is there.
  struct Place {
    int rank;
    int32_t row;
  };
  Place Find(int32_t batch_row) const;

  // Gives every rank the `own` rows of all: store(rows, spans) is called for this rank's, and for those of
  // the others in segments, of which the next is under way while one is stored. own: [num_rows(), cols].
  using StoreFunction = FunctionRef<void(const ConstMat& rows, std::span<const SeqSpan> spans)>;
  void ShareRows(const Mat& own, Workspace& workspace, const StoreFunction& store) const;
  // Takes of the workspace for `size` ranks with at most `num_tokens` rows.
  static size_t WorkspaceBytes(int size, int64_t num_tokens, int64_t cols, DType dtype);

 private:
  struct Segment;

  int rank() const { return comm_ == nullptr ? 0 : comm_->rank(); }
  Segment BeginSegment(const Mat& own, int64_t begin, const Mat& buffer) const;
  void StoreSegment(const Segment& segment, const StoreFunction& store) const;

  Communicator* const comm_;
  // One part of a chunk.
  struct Part {
    int32_t batch_row;
    int32_t len;
    int32_t rank;
    int32_t row;
  };
  std::vector<Part> parts_;                  // in the order of batch rows
  std::vector<std::vector<SeqSpan>> spans_;  // [ranks]
  std::vector<int32_t> num_rows_;            // [ranks]
  std::vector<int32_t> token_ids_, positions_;
};

}  // namespace penstock
