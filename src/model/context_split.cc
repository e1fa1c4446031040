// SPDX-License-Identifier: Apache-2.0
#include "model/context_split.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace penstock {
namespace {

constexpr int64_t kSegmentRows = 512;  // of each rank, that are under way at a time

// Where part i of a span begins, counted from its first token.
int32_t CutOf(const SeqSpan& span, int i, int num_parts) {
  if (i == num_parts) return span.len;
  const auto at = static_cast<int32_t>(span.pos + int64_t{span.len} * i / num_parts);
  return std::max(0, at / kStoreGrain * kStoreGrain - span.pos);
}

}  // namespace

void ContextSplit::Cut(const ModelBatch& batch) {
  const int size = comm_ == nullptr ? 1 : comm_->size();
  spans_.resize(size);
  for (auto& spans : spans_) spans.clear();
  parts_.clear();
  token_ids_.clear();
  positions_.clear();
  num_rows_.assign(size, 0);
  const int num_parts = 2 * size;
  for (size_t chunk = 0; chunk < batch.spans.size(); ++chunk) {
    const SeqSpan& span = batch.spans[chunk];
    for (int part = 0; part < num_parts; ++part) {
      const auto cut = [&](int i) { return CutOf(span, i, num_parts); };
      const int32_t begin = cut(part), len = cut(part + 1) - begin;
      if (len == 0) continue;
      const int turn = std::min(part, num_parts - 1 - part);  // 0: head and tail
      const int owner = (turn + static_cast<int>(chunk)) % size;
      const int32_t batch_row = span.row + begin, row = num_rows_[owner];
      parts_.push_back({batch_row, len, owner, row});
      num_rows_[owner] += len;
      std::vector<SeqSpan>& spans = spans_[owner];
      const bool follows = !spans.empty() && spans.back().block_ids == span.block_ids &&
                           spans.back().pos + spans.back().len == span.pos + begin;
      if (follows) {
        spans.back().len += len;
      } else {
        spans.push_back({row, len, span.pos + begin, span.block_ids});
      }
      if (owner != rank()) continue;
      const auto ids = batch.token_ids.subspan(batch_row, len), at = batch.positions.subspan(batch_row, len);
      token_ids_.insert(token_ids_.end(), ids.begin(), ids.end());
      positions_.insert(positions_.end(), at.begin(), at.end());
    }
  }
}

ContextSplit::Place ContextSplit::Find(int32_t batch_row) const {
  const auto after = std::ranges::upper_bound(parts_, batch_row, {}, &Part::batch_row);
  CHECK(after != parts_.begin()) << batch_row;
  const Part& part = *(after - 1);
  CHECK_LT(batch_row - part.batch_row, part.len);
  return {part.rank, part.row + batch_row - part.batch_row};
}

// Rows [begin, begin + kSegmentRows) of every rank: own ones, packed, first in the buffer.
struct ContextSplit::Segment {
  int64_t begin = 0;
  Mat buffer;
  Communicator::Ticket ticket = 0;

  int64_t Count(int64_t rows) const { return std::clamp<int64_t>(rows - begin, 0, kSegmentRows); }
};

ContextSplit::Segment ContextSplit::BeginSegment(const Mat& own, int64_t begin, const Mat& buffer) const {
  Segment segment{.begin = begin, .buffer = buffer};
  const size_t row_bytes = static_cast<size_t>(own.cols) * DTypeBytes(own.dtype);
  const int64_t num_own = segment.Count(own.rows);
  for (int64_t i = 0; i < num_own; ++i) std::memcpy(buffer.RowPtr(i), own.RowPtr(begin + i), row_bytes);
  std::vector<SendPart> sends;
  std::vector<RecvPart> recvs;
  int64_t row = num_own;
  for (int peer = 0; peer < comm_->size(); ++peer) {
    if (peer == rank()) continue;
    const int64_t count = segment.Count(num_rows_[peer]);
    if (num_own > 0) sends.push_back({peer, buffer.data, row_bytes * num_own});
    if (count > 0) recvs.push_back({peer, buffer.RowPtr(row), row_bytes * count});
    row += count;
  }
  segment.ticket = comm_->Begin(sends, recvs);
  return segment;
}

void ContextSplit::StoreSegment(const Segment& segment, const StoreFunction& store) const {
  comm_->Wait(segment.ticket);
  int64_t row = segment.Count(num_rows_[rank()]);
  std::vector<SeqSpan> inside;
  for (int peer = 0; peer < comm_->size(); ++peer) {
    if (peer == rank()) continue;
    const int64_t count = segment.Count(num_rows_[peer]);
    inside.clear();
    for (const SeqSpan& span : spans_[peer]) {
      const int64_t begin = std::max<int64_t>(span.row, segment.begin);
      const int64_t end = std::min<int64_t>(span.row + span.len, segment.begin + count);
      if (begin >= end) continue;
      inside.push_back({static_cast<int32_t>(begin - segment.begin), static_cast<int32_t>(end - begin),
                        static_cast<int32_t>(span.pos + begin - span.row), span.block_ids});
    }
    if (count > 0) store(segment.buffer.Rows(row, count), inside);
    row += count;
  }
}

void ContextSplit::ShareRows(const Mat& own, Workspace& workspace, const StoreFunction& store) const {
  CHECK_EQ(own.rows, num_rows());
  if (own.rows > 0) store(own, spans());
  if (!is_shared()) return;
  int64_t most_rows = 0;
  for (int r = 0; r < comm_->size(); ++r) most_rows = std::max<int64_t>(most_rows, num_rows_[r]);
  if (most_rows == 0) return;  // an empty step
  const Workspace::Scope scope(workspace);
  const int64_t buffer_rows = comm_->size() * std::min(most_rows, kSegmentRows);
  const Mat buffers[2] = {workspace.Take(buffer_rows, own.cols, own.dtype),
                          workspace.Take(buffer_rows, own.cols, own.dtype)};
  Segment segment = BeginSegment(own, 0, buffers[0]);
  for (int64_t begin = 0, turn = 1; begin < most_rows; begin += kSegmentRows, turn ^= 1) {
    Segment next;
    const bool has_next = begin + kSegmentRows < most_rows;
    if (has_next) next = BeginSegment(own, begin + kSegmentRows, buffers[turn]);
    StoreSegment(segment, store);
    if (has_next) segment = next;
  }
}

size_t ContextSplit::WorkspaceBytes(int size, int64_t num_tokens, int64_t cols, DType dtype) {
  if (size == 1) return 0;
  return 2 * Workspace::BytesFor(size * std::min(num_tokens, kSegmentRows), cols, dtype);
}

}  // namespace penstock
