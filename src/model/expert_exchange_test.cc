// Experts spread over ranks, which are threads, against one rank with all of them.
//
// SPDX-License-Identifier: Apache-2.0
#include "model/expert_exchange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <string>

#include "base/thread_team.h"
#include "kernels/forwarding_kernels.h"
#include "model/testing/rank_threads.h"

namespace penstock {
namespace {

constexpr int32_t kNumExperts = 7;
constexpr int32_t kTopK = 3;
constexpr int64_t kHidden = 72;
constexpr int64_t kInter = 40;
constexpr int32_t kLayer = 1;

// Numbers of a matrix in an activation type.
struct Numbers {
  Numbers(DType dtype, int64_t rows, int64_t cols, uint32_t seed, float scale = 1)
      : memory(std::max<size_t>(1, rows * cols * DTypeBytes(dtype))), mat(memory.data(), dtype, rows, cols) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, scale);
    for (int64_t i = 0; i < rows * cols; ++i) {
      if (dtype == DType::kF32) {
        mat.Row<float>(0)[i] = normal(random);
      } else {
        mat.Row<Bf16>(0)[i] = ToBf16(normal(random));
      }
    }
  }
  float At(int64_t row, int64_t col) const {
    return mat.dtype == DType::kF32 ? mat.Row<float>(row)[col] : ToFloat(mat.Row<Bf16>(row)[col]);
  }

  Buffer memory;
  Mat mat;
};

// Of some rows: [rows * kTopK].
struct Choices {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// Each row chooses kTopK of the experts [0, num_chosen).
Choices RandomChoices(int64_t rows, int32_t num_chosen, uint32_t seed) {
  Choices choices;
  std::mt19937 random(seed);
  std::vector<int32_t> order(num_chosen);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t t = 0; t < rows; ++t) {
    std::shuffle(order.begin(), order.end(), random);
    choices.ids.insert(choices.ids.end(), order.begin(), order.begin() + kTopK);
    for (int32_t j = 0; j < kTopK; ++j)
      choices.weights.push_back(std::uniform_real_distribution<float>(0.1f, 1)(random));
  }
  return choices;
}

// A matrix of 8-bit integers with dynamic inputs.
std::unique_ptr<PackedMat> PackInt8(Kernels& kernels, int64_t rows, int64_t cols, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int8_t> weight(rows * cols);
  for (int8_t& value : weight) value = static_cast<int8_t>(static_cast<int>(random() % 255) - 127);
  const std::vector<float> scale(rows, 0.125f / 64);
  const Int8Part part{.weight = weight.data(), .n = rows, .k = cols, .weight_scale = scale.data()};
  return kernels.PackInt8({&part, 1});
}

ExpertWeights PackExperts(Kernels& kernels, DType dtype, const ExpertPlacement& placement, int32_t rank,
                          bool int8 = false) {
  ExpertWeights experts;
  experts.gate_up.resize(kNumExperts);
  experts.down.resize(kNumExperts);
  for (int32_t e = 0; e < kNumExperts; ++e) {
    if (!placement.Holds(kLayer, e, rank)) continue;
    if (int8) {
      experts.gate_up[e] = PackInt8(kernels, 2 * kInter, kHidden, 10 + e);
      experts.down[e] = PackInt8(kernels, kHidden, kInter, 50 + e);
      continue;
    }
    const Numbers gate_up(dtype, 2 * kInter, kHidden, 10 + e, 0.125f),
        down(dtype, kHidden, kInter, 50 + e, 0.125f);
    const ConstMat first = gate_up.mat, second = down.mat;
    experts.gate_up[e] = kernels.Pack(std::span(&first, 1), dtype);
    experts.down[e] = kernels.Pack(std::span(&second, 1), dtype);
  }
  return experts;
}

struct Kernel {
  ThreadTeam team{1};
  std::unique_ptr<Kernels> table = MakeCpuKernels(team);
};

// Of several ranks, their rows, choices, and what comes out.
struct Case {
  DType dtype = DType::kF32;
  std::vector<int64_t> rows;         // of each rank
  int32_t num_chosen = kNumExperts;  // of the experts, the first so many are chosen
  int64_t min_expert_rows = 0;
  int num_calls = 2;
  bool int8 = false;  // experts

  uint32_t Seed(int rank, int call) const { return 100 * rank + call; }
};

// The bytes that a rank sends for one call, from the choices, as expert_exchange.h says.
uint64_t FormulaBytes(const Case& test, const ExpertPlacement& placement, int rank, int call) {
  const auto rows_from_to = [&](int from, int to) {
    const Choices choices = RandomChoices(test.rows[from], test.num_chosen, test.Seed(from, call));
    uint64_t count = 0;
    for (int64_t t = 0; t < test.rows[from]; ++t) {
      std::set<int32_t> ranks;
      for (int32_t j = 0; j < kTopK; ++j)
        ranks.insert(placement.RankFor(kLayer, choices.ids[t * kTopK + j], from, t));
      count += ranks.count(to);
    }
    return count;
  };
  uint64_t bytes = 0;
  for (int peer = 0; peer < static_cast<int>(test.rows.size()); ++peer) {
    if (peer == rank) continue;
    const uint64_t row_bytes = kHidden * DTypeBytes(test.dtype);
    const uint64_t input_bytes = test.int8 && placement.AllRanksHold(kLayer) ? 128 + 4 : row_bytes;
    bytes += 20 + rows_from_to(rank, peer) * (input_bytes + 8 * kTopK) + rows_from_to(peer, rank) * row_bytes;
  }
  return bytes;
}

// All ranks come to what one rank with all experts makes of the same rows, and send what the formula says.
void ExpectSame(const Case& test, const ExpertPlacement& placement, double tolerance) {
  Kernel whole;
  const ExpertWeights all =
      PackExperts(*whole.table, test.dtype, ExpertPlacement::Blocks(kNumExperts, 1), 0, test.int8);
  const auto size = static_cast<int>(test.rows.size());
  std::vector<std::unique_ptr<Numbers>> results(size * test.num_calls);
  testing::RunRanks(size, [&](Communicator& comm) {
    Kernel kernels;
    const ExpertWeights own = PackExperts(*kernels.table, test.dtype, placement, comm.rank(), test.int8);
    ExpertExchange exchange(comm, *kernels.table, test.min_expert_rows);
    for (int call = 0; call < test.num_calls; ++call) {
      const uint32_t seed = test.Seed(comm.rank(), call);
      const int64_t rows = test.rows[comm.rank()];
      const Numbers x(test.dtype, rows, kHidden, seed);
      auto y = std::make_unique<Numbers>(test.dtype, rows, kHidden, seed + 1);
      const Choices choices = RandomChoices(rows, test.num_chosen, seed);
      const uint64_t before = comm.sent_bytes();
      exchange.Run({x.mat, choices.ids.data(), choices.weights.data(), kTopK, y->mat}, placement, kLayer,
                   own);
      EXPECT_EQ(comm.sent_bytes() - before, FormulaBytes(test, placement, comm.rank(), call));
      results[comm.rank() * test.num_calls + call] = std::move(y);
    }
  });
  for (int rank = 0; rank < size; ++rank) {
    for (int call = 0; call < test.num_calls; ++call) {
      const uint32_t seed = test.Seed(rank, call);
      const int64_t rows = test.rows[rank];
      const Numbers x(test.dtype, rows, kHidden, seed), y(test.dtype, rows, kHidden, seed + 1);
      const Choices choices = RandomChoices(rows, test.num_chosen, seed);
      whole.table->MoeMlp(x.mat, choices.ids.data(), choices.weights.data(), kTopK, all, y.mat);
      double largest = 0;
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < kHidden; ++c) {
          const double difference = std::fabs(results[rank * test.num_calls + call]->At(r, c) - y.At(r, c));
          largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
        }
      }
      EXPECT_LE(largest, tolerance) << "rank " << rank << " of " << size << ", call " << call;
    }
  }
}

constexpr double kTolerance = 1e-5;

TEST(ExpertExchange, AnyNumberOfRanksIsAsOne) {
  for (const std::vector<int64_t>& rows :
       {std::vector<int64_t>{19}, {23, 23}, {1, 40}, {30, 0, 7}, {5, 17, 1, 0}, {0, 0, 3, 0}, {0, 0}}) {
    const auto placement = ExpertPlacement::Blocks(kNumExperts, static_cast<int32_t>(rows.size()));
    for (const int64_t min_expert_rows : {0, 3, 1000}) {  // 4 pieces, fewer, one
      ExpectSame({.rows = rows, .min_expert_rows = min_expert_rows}, placement, kTolerance);
    }
  }
}

TEST(ExpertExchange, AllTokensWantOneRank) {
  const auto placement = ExpertPlacement::Blocks(kNumExperts, 2);  // the first has experts 0, 1 and 2
  ExpectSame({.rows = {60, 50}, .num_chosen = 3, .num_calls = 3}, placement, kTolerance);
}

TEST(ExpertExchange, MoreRanksThanExperts) {
  ExpectSame({.rows = std::vector<int64_t>(9, 4)}, ExpertPlacement::Blocks(kNumExperts, 9), kTolerance);
}

TEST(ExpertExchange, CopiesShareAnExpertsTokens) {
  ExpertCounts load(kLayer + 1);
  load[kLayer] = {900, 5, 5, 800, 5, 5, 5};
  const auto placement = ExpertPlacement::FromLoad(load, kNumExperts, 3, 3);
  EXPECT_EQ(placement.RanksOf(kLayer, 0).size(), 3u);
  EXPECT_EQ(placement.RanksOf(kLayer, 3).size(), 2u);
  ExpectSame({.rows = {20, 31, 9}}, placement, kTolerance);
}

// What is sent is the integers that one rank would have made of the rows.
TEST(ExpertExchange, Int8) {
  for (const int64_t min_expert_rows : {0, 1000}) {
    ExpectSame({.rows = {20, 31, 0, 9}, .min_expert_rows = min_expert_rows, .int8 = true},
               ExpertPlacement::Blocks(kNumExperts, 4), 1e-4);
    ExpectSame({.rows = std::vector<int64_t>(9, 4), .min_expert_rows = min_expert_rows, .int8 = true},
               ExpertPlacement::Blocks(kNumExperts, 9), 1e-4);
  }
}

// Sums of ranks are rounded to bf16 on their way.
TEST(ExpertExchange, Bf16) {
  ExpectSame({.dtype = DType::kBF16, .rows = {20, 31, 0, 9}}, ExpertPlacement::Blocks(kNumExperts, 4), 0.04);
}

// Notes what a rank begins (B), waits for (W), and computes (M).
class NotingComm : public Communicator {
 public:
  NotingComm(Communicator& inner, std::string& notes) : inner_(inner), notes_(notes) {}
  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void Wait(Ticket ticket) override {
    inner_.Wait(ticket);
    notes_ += "W" + std::to_string(ticket) + " ";
  }

 protected:
  Ticket DoBegin(std::span<const SendPart> sends, std::span<const RecvPart> recvs) override {
    const Ticket ticket = inner_.Begin(sends, recvs);
    notes_ += "B" + std::to_string(ticket) + " ";
    return ticket;
  }

 private:
  Communicator& inner_;
  std::string& notes_;
};

class NotingKernels : public ForwardingKernels {
 public:
  NotingKernels(Kernels& inner, std::string& notes) : ForwardingKernels(inner), notes_(notes) {}
  void MoeMlp(ConstMat x, const int32_t* ids, const float* weights, int32_t top_k,
              const ExpertWeights& experts, Mat y) override {
    notes_ += "M ";
    ForwardingKernels::MoeMlp(x, ids, weights, top_k, experts, y);
  }

 private:
  std::string& notes_;
};

// 0 is the counts. Before a piece is computed, the next one's rows are on their way, and until it is computed
// nobody waits for the results of the one before.
TEST(ExpertExchange, ComputesWhileRowsAreOnTheirWay) {
  const auto placement = ExpertPlacement::Blocks(kNumExperts, 2);
  testing::RunRanks(2, [&](Communicator& comm) {
    std::string notes;
    Kernel kernels;
    NotingComm noting_comm(comm, notes);
    NotingKernels noting_kernels(*kernels.table, notes);
    const ExpertWeights own = PackExperts(*kernels.table, DType::kF32, placement, comm.rank());
    ExpertExchange exchange(noting_comm, noting_kernels, 0);
    const Numbers x(DType::kF32, 16, kHidden, 1), y(DType::kF32, 16, kHidden, 2);
    const Choices choices = RandomChoices(16, kNumExperts, 3);
    exchange.Run({x.mat, choices.ids.data(), choices.weights.data(), kTopK, y.mat}, placement, kLayer, own);
    EXPECT_EQ(notes, "B0 W0 B1 B2 W1 M B3 B4 W2 M B5 W3 B6 W4 M B7 W5 W6 M B8 W7 W8 ");
  });
}

TEST(ExpertExchange, CutsWhereItPays) {
  const auto pieces = [](int64_t rows) {
    return ExpertExchange::NumPieces(rows, 8, 128, ExpertExchange::kMinExpertRows);
  };
  EXPECT_EQ(pieces(0), 1);
  EXPECT_EQ(pieces(2047), 1);
  EXPECT_EQ(pieces(2048), 2);
  EXPECT_EQ(pieces(4096), 4);
  EXPECT_EQ(pieces(1'000'000), 4);
  for (const int64_t most : {1, 500, 1023, 1500, 5000}) {
    for (int64_t rows = 0; rows <= most; ++rows) {
      EXPECT_LE((rows + pieces(rows) - 1) / pieces(rows), ExpertExchange::MaxPieceRows(most, 8, 128));
    }
  }
}

}  // namespace
}  // namespace penstock
