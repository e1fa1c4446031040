// Ranks agree on the number of pieces from what they tell each other with the counts, so that they all begin
// and wait for the same exchanges in the same order: dispatch 0, dispatch 1, combine 0, dispatch 2, combine
// 1, …
//
// Piece i + 2 is dispatched when piece i is computed and the results of piece i - 1 are added: its rows take
// the place of piece i's, which are not read again, and its results that of piece i's, which have gone by the
// time that it is computed.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/expert_exchange.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"
#include "comm/collectives.h"

namespace penstock {
namespace {

constexpr int64_t kSumBlock = 256;  // columns that are summed at a time

void Reserve(Buffer& buffer, size_t bytes) {
  if (buffer.size() < bytes) buffer = Buffer(bytes);
}

float Load(const float* row, int64_t i) { return row[i]; }
float Load(const Bf16* row, int64_t i) { return ToFloat(row[i]); }
void Store(float* row, int64_t i, float value) { row[i] = value; }
void Store(Bf16* row, int64_t i, float value) { row[i] = ToBf16(value); }

// y += parts[0] + parts[1] + …, rounded once.
template <typename T>
void AddRows(const std::vector<const void*>& parts, T* y, int64_t cols) {
  float sums[kSumBlock];
  for (int64_t begin = 0; begin < cols; begin += kSumBlock) {
    const int64_t count = std::min(kSumBlock, cols - begin);
    for (int64_t i = 0; i < count; ++i) sums[i] = Load(y, begin + i);
    for (const void* part : parts) {
      const T* row = static_cast<const T*>(part) + begin;
      for (int64_t i = 0; i < count; ++i) sums[i] += Load(row, i);
    }
    for (int64_t i = 0; i < count; ++i) Store(y, begin + i, sums[i]);
  }
}

}  // namespace

ExpertExchange::ExpertExchange(Communicator& comm, Kernels& kernels, int64_t min_expert_rows)
    : comm_(comm),
      kernels_(kernels),
      min_expert_rows_(min_expert_rows),
      out_(comm.size()),
      in_(comm.size()) {}

int ExpertExchange::NumPieces(int64_t total_rows, int32_t top_k, int32_t num_experts,
                              int64_t min_expert_rows) {
  int num_pieces = kMaxPieces;
  while (num_pieces > 1 && total_rows * top_k < min_expert_rows * num_experts * num_pieces) num_pieces /= 2;
  return num_pieces;
}

// Where the number of pieces is less than it can be, a piece can be as large as where it doubles.
int64_t ExpertExchange::MaxPieceRows(int64_t total_rows, int32_t top_k, int32_t num_experts) {
  const int64_t doubling = CeilDiv<int64_t>(2 * kMinExpertRows * num_experts, top_k);
  const int num_pieces = NumPieces(total_rows, top_k, num_experts, kMinExpertRows);
  return std::max(CeilDiv<int64_t>(total_rows, num_pieces), std::min(total_rows, doubling));
}

size_t ExpertExchange::RowBytes(const ExpertTokens& tokens) const {
  return static_cast<size_t>(tokens.x.cols) * DTypeBytes(tokens.x.dtype);
}

size_t ExpertExchange::InputBytes(const ExpertTokens& tokens) const {
  return quantized_cols_ == 0 ? RowBytes(tokens) : static_cast<size_t>(quantized_cols_) + sizeof(float);
}

size_t ExpertExchange::RecordBytes(const ExpertTokens& tokens) const {
  return InputBytes(tokens) + tokens.top_k * (sizeof(int32_t) + sizeof(float));
}

void ExpertExchange::Run(const ExpertTokens& tokens, const ExpertPlacement& placement, int32_t layer,
                         const ExpertWeights& experts) {
  CHECK_EQ(placement.ep_size(), comm_.size());
  CHECK_EQ(tokens.x.rows, tokens.y.rows);
  CHECK_EQ(tokens.x.cols, tokens.y.cols);
  CHECK(tokens.x.dtype == tokens.y.dtype);
  QuantizeTokens(tokens, placement, layer, experts);
  ChooseRanks(tokens, placement, layer);
  const int64_t total_rows = ExchangeCounts(tokens.x.rows);
  const int num_pieces = NumPieces(total_rows, tokens.top_k, placement.num_experts(), min_expert_rows_);
  const auto dispatch = [&](int i) {
    Piece& piece = pieces_[i % pieces_.size()];
    piece.memory = &memory_[i % memory_.size()];
    Plan(tokens, i, num_pieces, piece);
    FillRecords(tokens, piece);
    BeginDispatch(tokens, piece);
  };
  for (int i = 0; i < std::min(2, num_pieces); ++i) dispatch(i);
  for (int i = 0; i < num_pieces; ++i) {
    Piece& piece = pieces_[i % pieces_.size()];
    comm_.Wait(piece.dispatch);
    Compute(tokens, experts, piece);
    BeginCombine(tokens, piece);
    if (i > 0) FinishCombine(tokens, pieces_[(i - 1) % pieces_.size()]);
    if (i + 2 < num_pieces) dispatch(i + 2);
  }
  FinishCombine(tokens, pieces_[(num_pieces - 1) % pieces_.size()]);
}

// A rank without experts would not know.
void ExpertExchange::QuantizeTokens(const ExpertTokens& tokens, const ExpertPlacement& placement,
                                    int32_t layer, const ExpertWeights& experts) {
  quantized_cols_ = 0;
  if (!placement.AllRanksHold(layer)) return;
  const PackedMat& gate_up = *experts.gate_up[experts.FirstHeld()];
  quantized_cols_ = kernels_.QuantizedCols(gate_up);
  if (quantized_cols_ == 0 || tokens.x.rows == 0) return;
  Reserve(quantized_, tokens.x.rows * quantized_cols_);
  scales_.resize(tokens.x.rows);
  kernels_.Quantize(tokens.x, gate_up, Mat(quantized_.data(), DType::kI8, tokens.x.rows, quantized_cols_),
                    scales_.data());
}

void ExpertExchange::ChooseRanks(const ExpertTokens& tokens, const ExpertPlacement& placement,
                                 int32_t layer) {
  const int64_t num_rows = tokens.x.rows;
  rank_of_.resize(num_rows * tokens.top_k);
  for (Counts& counts : out_) counts = {static_cast<int32_t>(num_rows), {}};
  std::vector<int64_t> last_row(comm_.size(), -1);  // that goes to the rank
  for (int piece = 0; piece < kMaxPieces; ++piece) {
    for (int64_t t = RowCut(num_rows, kMaxPieces, piece); t < RowCut(num_rows, kMaxPieces, piece + 1); ++t) {
      for (int64_t i = t * tokens.top_k; i < (t + 1) * tokens.top_k; ++i) {
        const int32_t rank = placement.RankFor(layer, tokens.ids[i], comm_.rank(), t);
        rank_of_[i] = rank;
        if (last_row[rank] == t) continue;
        last_row[rank] = t;
        ++out_[rank].piece_rows[piece];
      }
    }
  }
}

int64_t ExpertExchange::ExchangeCounts(int64_t num_rows) {
  sends_.clear();
  recvs_.clear();
  in_[comm_.rank()] = out_[comm_.rank()];
  for (int peer = 0; peer < comm_.size(); ++peer) {
    if (peer == comm_.rank()) continue;
    sends_.push_back({peer, &out_[peer], sizeof(Counts)});
    recvs_.push_back({peer, &in_[peer], sizeof(Counts)});
  }
  comm_.Exchange(sends_, recvs_);
  for (int peer = 0; peer < comm_.size(); ++peer) {
    if (peer != comm_.rank()) num_rows += in_[peer].num_rows;
  }
  return num_rows;
}

void ExpertExchange::Plan(const ExpertTokens& tokens, int idx, int num_pieces, Piece& piece) {
  const int first = kMaxPieces / num_pieces * idx, last = kMaxPieces / num_pieces * (idx + 1);
  const auto rows_of = [&](const Counts& counts) {
    int64_t rows = 0;
    for (int i = first; i < last; ++i) rows += counts.piece_rows[i];
    return rows;
  };
  piece.begin = RowCut(tokens.x.rows, kMaxPieces, first);
  piece.end = RowCut(tokens.x.rows, kMaxPieces, last);
  piece.sent_begin.assign(1, 0);
  piece.batch_begin.assign(1, 0);
  for (int rank = 0; rank < comm_.size(); ++rank) {
    const int64_t sent = rank == comm_.rank() ? 0 : rows_of(out_[rank]);
    piece.sent_begin.push_back(piece.sent_begin.back() + sent);
    piece.batch_begin.push_back(piece.batch_begin.back() + rows_of(in_[rank]));
  }
  const auto sent_rows = static_cast<size_t>(piece.sent_begin.back());
  const auto batch_rows = static_cast<size_t>(piece.batch_begin.back());
  Reserve(piece.memory->sent, sent_rows * RecordBytes(tokens));
  Reserve(piece.memory->batch, batch_rows * RecordBytes(tokens));
}

std::byte* ExpertExchange::RecordOf(const ExpertTokens& tokens, const Piece& piece, int64_t row, int rank) {
  const int64_t place = piece.place[(row - piece.begin) * comm_.size() + rank];
  return rank == comm_.rank()
             ? piece.memory->batch.as<std::byte>() + (piece.batch_begin[rank] + place) * RecordBytes(tokens)
             : piece.memory->sent.as<std::byte>() + (piece.sent_begin[rank] + place) * RecordBytes(tokens);
}

void ExpertExchange::FillRecords(const ExpertTokens& tokens, Piece& piece) {
  const int size = comm_.size(), top_k = tokens.top_k;
  piece.place.assign((piece.end - piece.begin) * size, -1);
  std::vector<int32_t> num_rows(size, 0);
  for (int64_t i = piece.begin * top_k; i < piece.end * top_k; ++i) {
    int32_t& place = piece.place[(i / top_k - piece.begin) * size + rank_of_[i]];
    if (place < 0) place = num_rows[rank_of_[i]]++;
  }
  kernels_.ParallelFor(piece.end - piece.begin, [&](int64_t begin, int64_t end) {
    for (int64_t t = piece.begin + begin; t < piece.begin + end; ++t) {
      for (int rank = 0; rank < size; ++rank) {
        if (piece.place[(t - piece.begin) * size + rank] < 0) continue;
        FillRecord(tokens, t, rank, RecordOf(tokens, piece, t, rank));
      }
    }
  });
}

void ExpertExchange::FillRecord(const ExpertTokens& tokens, int64_t row, int rank, std::byte* record) const {
  if (quantized_cols_ == 0) {
    std::memcpy(record, tokens.x.RowPtr(row), RowBytes(tokens));
  } else {
    std::memcpy(record, quantized_.as<std::byte>() + row * quantized_cols_, quantized_cols_);
    std::memcpy(record + quantized_cols_, &scales_[row], sizeof(float));
  }
  std::byte* ids = record + InputBytes(tokens);
  for (int j = 0; j < tokens.top_k; ++j) {
    const int64_t i = row * tokens.top_k + j;
    const int32_t id = rank_of_[i] == rank ? tokens.ids[i] : -1;
    std::memcpy(ids + j * sizeof(int32_t), &id, sizeof(id));
  }
  std::memcpy(ids + tokens.top_k * sizeof(int32_t), &tokens.weights[row * tokens.top_k],
              tokens.top_k * sizeof(float));
}

void ExpertExchange::BeginDispatch(const ExpertTokens& tokens, Piece& piece) {
  sends_.clear();
  recvs_.clear();
  const size_t bytes = RecordBytes(tokens);
  for (int peer = 0; peer < comm_.size(); ++peer) {
    if (peer == comm_.rank()) continue;
    const int64_t out = piece.sent_begin[peer], in = piece.batch_begin[peer];
    const int64_t num_out = piece.sent_begin[peer + 1] - out, num_in = piece.batch_begin[peer + 1] - in;
    if (num_out > 0)
      sends_.push_back({peer, piece.memory->sent.as<std::byte>() + out * bytes, num_out * bytes});
    if (num_in > 0)
      recvs_.push_back({peer, piece.memory->batch.as<std::byte>() + in * bytes, num_in * bytes});
  }
  piece.dispatch = comm_.Begin(sends_, recvs_);
}

void ExpertExchange::Compute(const ExpertTokens& tokens, const ExpertWeights& experts, Piece& piece) {
  const int64_t rows = piece.batch_begin.back(), top_k = tokens.top_k;
  const size_t row_bytes = RowBytes(tokens), record_bytes = RecordBytes(tokens);
  const size_t input_bytes = InputBytes(tokens);
  Reserve(piece.memory->sums, rows * row_bytes);
  if (rows == 0) return;
  ids_.resize(rows * top_k);
  weights_.resize(rows * top_k);
  batch_scales_.resize(quantized_cols_ == 0 ? 0 : rows);
  const std::byte* batch = piece.memory->batch.as<std::byte>();
  std::byte* sums = piece.memory->sums.as<std::byte>();
  kernels_.ParallelFor(rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const std::byte* ids = batch + r * record_bytes + input_bytes;
      if (quantized_cols_ > 0) std::memcpy(&batch_scales_[r], ids - sizeof(float), sizeof(float));
      std::memcpy(&ids_[r * top_k], ids, top_k * sizeof(int32_t));
      std::memcpy(&weights_[r * top_k], ids + top_k * sizeof(int32_t), top_k * sizeof(float));
    }
    std::memset(sums + begin * row_bytes, 0, (end - begin) * row_bytes);
  });
  const DType dtype = quantized_cols_ == 0 ? tokens.x.dtype : DType::kI8;
  const auto stride = static_cast<int64_t>(record_bytes / DTypeBytes(dtype));
  const Mat y(sums, tokens.x.dtype, rows, tokens.x.cols);
  if (quantized_cols_ == 0) {
    kernels_.MoeMlp(ConstMat(batch, dtype, rows, tokens.x.cols, stride), ids_.data(), weights_.data(),
                    tokens.top_k, experts, y);
  } else {
    kernels_.MoeMlpQuantized(ConstMat(batch, dtype, rows, quantized_cols_, stride), batch_scales_.data(),
                             ids_.data(), weights_.data(), tokens.top_k, experts, y);
  }
}

void ExpertExchange::BeginCombine(const ExpertTokens& tokens, Piece& piece) {
  sends_.clear();
  recvs_.clear();
  const size_t bytes = RowBytes(tokens);
  Reserve(piece.memory->returned, piece.sent_begin.back() * bytes);
  for (int peer = 0; peer < comm_.size(); ++peer) {
    if (peer == comm_.rank()) continue;
    const int64_t out = piece.batch_begin[peer], in = piece.sent_begin[peer];
    const int64_t num_out = piece.batch_begin[peer + 1] - out, num_in = piece.sent_begin[peer + 1] - in;
    if (num_out > 0)
      sends_.push_back({peer, piece.memory->sums.as<std::byte>() + out * bytes, num_out * bytes});
    if (num_in > 0)
      recvs_.push_back({peer, piece.memory->returned.as<std::byte>() + in * bytes, num_in * bytes});
  }
  piece.combine = comm_.Begin(sends_, recvs_);
}

void ExpertExchange::FinishCombine(const ExpertTokens& tokens, Piece& piece) {
  comm_.Wait(piece.combine);
  const size_t bytes = RowBytes(tokens);
  const std::byte* sums = piece.memory->sums.as<std::byte>();
  const std::byte* returned = piece.memory->returned.as<std::byte>();
  kernels_.ParallelFor(piece.end - piece.begin, [&](int64_t begin, int64_t end) {
    std::vector<const void*> parts;
    for (int64_t t = begin; t < end; ++t) {
      parts.clear();
      for (int rank = 0; rank < comm_.size(); ++rank) {
        const int64_t place = piece.place[t * comm_.size() + rank];
        if (place < 0) continue;
        parts.push_back(rank == comm_.rank() ? sums + (piece.batch_begin[rank] + place) * bytes
                                             : returned + (piece.sent_begin[rank] + place) * bytes);
      }
      const int64_t row = piece.begin + t;
      if (tokens.y.dtype == DType::kF32) {
        AddRows(parts, tokens.y.Row<float>(row), tokens.y.cols);
      } else {
        AddRows(parts, tokens.y.Row<Bf16>(row), tokens.y.cols);
      }
    }
  });
}

size_t ExpertExchange::scratch_bytes() const {
  size_t bytes = quantized_.size();
  for (const PieceMemory& memory : memory_) {
    bytes += memory.sent.size() + memory.batch.size() + memory.sums.size() + memory.returned.size();
  }
  return bytes;
}

}  // namespace penstock
