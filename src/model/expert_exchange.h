// ExpertExchange: the experts of a layer on the tokens of all ranks of an expert-parallel group, each rank
// having some of the experts.
//
// Tokens are cut in pieces. While one is computed, the next one's rows and the last one's results are on
// their way:
//
//   time →   counts │ dispatch 0 │ dispatch 1 │ dispatch 2 │
//                   │            │ compute 0  │ compute 1  │ compute 2  │
//                   │            │            │ combine 0  │ combine 1  │ combine 2
//
// A token goes to a rank once, however many experts it has there, as a record: its row, and [top_k] ids of
// experts (-1: not there) and their weights. Where the experts are of 8-bit integers, the row is quantised
// before it goes (Kernels::Quantize), unless there are more ranks than experts. A row comes back: the
// weighted sum over that rank's experts, in the activation type; rows are added in the order of the ranks in
// fp32. What an expert is sent, it computes: there is no capacity, and no token is dropped. Memory grows with
// what comes.
//
// A rank sends for one layer, with b bytes of an activation, and over the other ranks r:
//
//   sum of  20 + out_r * (x + 8 * top_k) + in_r * hidden * b       bytes
//
// where out_r of its rows go to rank r, in_r rows of r come to it, and a row x is hidden * b, or, quantised,
// hidden rounded up to 64, and 4.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "comm/communicator.h"
#include "kernels/kernels.h"
#include "model/expert_placement.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

// A rank's own tokens, which may be none, and their choices: as Kernels::MoeMlp.
struct ExpertTokens {
  ConstMat x;                      // [tokens, hidden]
  const int32_t* ids = nullptr;    // [tokens * top_k]
  const float* weights = nullptr;  // [tokens * top_k]
  int32_t top_k = 0;
  Mat y;  // as x, in the same type
};

class ExpertExchange {
 public:
  static constexpr int kMaxPieces = 4;
  // A piece has so many rows for each expert, on average, or more: each reads the weights anew.
  static constexpr int64_t kMinExpertRows = 64;

  // Both outlive this.
  ExpertExchange(Communicator& comm, Kernels& kernels, int64_t min_expert_rows = kMinExpertRows);

  // y += the experts' outputs, as Kernels::MoeMlp with all experts. `experts` are those that `placement`
  // gives this rank in `layer`. All ranks of the group come here together, those without tokens too.
  void Run(const ExpertTokens& tokens, const ExpertPlacement& placement, int32_t layer,
           const ExpertWeights& experts);

  // Into how many pieces the tokens of all ranks together, `total_rows`, are cut.
  static int NumPieces(int64_t total_rows, int32_t top_k, int32_t num_experts, int64_t min_expert_rows);

  // The most rows of a piece where all ranks together have at most `total_rows`.
  static int64_t MaxPieceRows(int64_t total_rows, int32_t top_k, int32_t num_experts);

  size_t scratch_bytes() const;

 private:
  // What a rank tells each other one first.
  struct Counts {
    int32_t num_rows;                            // its own
    std::array<int32_t, kMaxPieces> piece_rows;  // that it will send, of each of kMaxPieces pieces
  };

  // What is kept of a piece's rows until the next but one needs the place.
  struct PieceMemory {
    Buffer sent;      // records
    Buffer batch;     // records
    Buffer sums;      // [rows of batch, hidden] activation type
    Buffer returned;  // [rows of sent, hidden] activation type
  };

  struct Piece {
    int64_t begin = 0, end = 0;        // own rows
    std::vector<int64_t> sent_begin;   // [size + 1] rows of `sent` to each rank; none to itself
    std::vector<int64_t> batch_begin;  // [size + 1] rows of `batch` from each rank, itself too
    std::vector<int32_t> place;        // [end - begin, size] among the rows to that rank; -1: not sent there
    PieceMemory* memory = nullptr;
    Communicator::Ticket dispatch = 0, combine = 0;
  };

  size_t RowBytes(const ExpertTokens& tokens) const;    // of a result
  size_t InputBytes(const ExpertTokens& tokens) const;  // of a row in a record
  size_t RecordBytes(const ExpertTokens& tokens) const;
  // Where the experts take 8-bit integers, makes them of the tokens.
  void QuantizeTokens(const ExpertTokens& tokens, const ExpertPlacement& placement, int32_t layer,
                      const ExpertWeights& experts);
  void FillRecord(const ExpertTokens& tokens, int64_t row, int rank, std::byte* record) const;
  void ChooseRanks(const ExpertTokens& tokens, const ExpertPlacement& placement, int32_t layer);
  int64_t ExchangeCounts(int64_t num_rows);  // rows of all ranks
  void Plan(const ExpertTokens& tokens, int idx, int num_pieces, Piece& piece);
  // Where the record of own row `row` for `rank` is.
  std::byte* RecordOf(const ExpertTokens& tokens, const Piece& piece, int64_t row, int rank);
  void FillRecords(const ExpertTokens& tokens, Piece& piece);
  void BeginDispatch(const ExpertTokens& tokens, Piece& piece);
  void Compute(const ExpertTokens& tokens, const ExpertWeights& experts, Piece& piece);
  void BeginCombine(const ExpertTokens& tokens, Piece& piece);
  void FinishCombine(const ExpertTokens& tokens, Piece& piece);

  Communicator& comm_;
  Kernels& kernels_;
  const int64_t min_expert_rows_;
  std::vector<int32_t> rank_of_;       // [tokens * top_k] where each choice is computed
  std::vector<Counts> out_, in_;       // [size]
  std::array<PieceMemory, 2> memory_;  // of piece i: i % 2
  std::array<Piece, 3> pieces_;        // piece i: i % 3
  int64_t quantized_cols_ = 0;         // this call: of a row; 0: it goes as it is
  Buffer quantized_;                   // [tokens, quantized_cols_] bytes
  std::vector<float> scales_;          // [tokens]
  std::vector<float> batch_scales_;    // [rows of a batch]
  std::vector<int32_t> ids_;           // [rows of a batch * top_k]
  std::vector<float> weights_;         // of the same
  std::vector<SendPart> sends_;
  std::vector<RecvPart> recvs_;
};

}  // namespace penstock
