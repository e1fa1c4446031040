// Routing and experts of every instruction set that this machine can run or emulate, against the reference.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/cpu_backends_test.h"
#include "kernels/kernels.h"
#include "kernels/testing/int8_test_util.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

// A layer of experts and a batch of tokens with their choices.
struct MoeCase {
  MoeCase(DType dtype, int64_t tokens, int64_t hidden, int64_t inter, int32_t num_experts, int32_t top_k)
      : num_experts(num_experts), top_k(top_k), x(TestMat::Random(dtype, tokens, hidden, 1)) {
    for (int32_t e = 0; e < num_experts; ++e) {
      gate_up.push_back(TestMat::Random(dtype, 2 * inter, hidden, 10 + e, 1.0f / 8));
      down.push_back(TestMat::Random(dtype, hidden, inter, 1000 + e, 1.0f / 8));
    }
    std::mt19937 generator(5);
    std::vector<int32_t> order(num_experts);
    for (int64_t t = 0; t < tokens; ++t) {
      for (int32_t e = 0; e < num_experts; ++e) order[e] = e;
      std::shuffle(order.begin(), order.end(), generator);
      if (t % 3 != 0) std::swap(order[0], *std::find(order.begin(), order.end(), 1));  // expert 1 is popular
      for (int32_t j = 0; j < top_k; ++j) {
        ids.push_back(order[j]);
        weights.push_back(std::uniform_real_distribution<float>(0.1f, 1.0f)(generator));
      }
    }
  }

  ExpertWeights Pack(Kernels& kernels, DType dtype) const {
    ExpertWeights experts;
    for (int32_t e = 0; e < num_experts; ++e) {
      const ConstMat first = gate_up[e], second = down[e];
      experts.gate_up.push_back(kernels.Pack(std::span(&first, 1), dtype));
      experts.down.push_back(kernels.Pack(std::span(&second, 1), dtype));
    }
    return experts;
  }

  int32_t num_experts, top_k;
  TestMat x;
  std::vector<TestMat> gate_up, down;
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

class MoeTest : public testing::TestWithParam<std::tuple<CpuBackend, DType>> {
 protected:
  const CpuBackend& backend() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }

  ThreadTeam team_{3};
  std::unique_ptr<Kernels> kernels_ = std::get<0>(GetParam()).Make(team_);
  std::unique_ptr<Kernels> reference_ = MakeRefKernels();
};

INSTANTIATE_TEST_SUITE_P(Cpu, MoeTest,
                         testing::Combine(testing::ValuesIn(TestedBackends()),
                                          testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::string(DTypeName(std::get<1>(info.param)));
                         });

TEST_P(MoeTest, MatchesReference) {
  for (const int64_t tokens : {1, 2, 37}) {
    const MoeCase moe(dtype(), tokens, 72, 40, 6, 3);
    TestMat got = TestMat::Random(dtype(), tokens, 72, 3), want = TestMat::Random(dtype(), tokens, 72, 3);
    kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3, moe.Pack(*kernels_, dtype()), got.mat());
    reference_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3, moe.Pack(*reference_, dtype()),
                       want.mat());
    EXPECT_LT(MaxRelativeError(got, want), dtype() == DType::kF32 ? 3e-5 : 3e-2) << tokens;
  }
}

TEST_P(MoeTest, ATokenDoesNotDependOnTheOthersNorOnThreadsNorOnPieces) {
  constexpr int64_t kTokens = 61;
  const MoeCase moe(dtype(), kTokens, 96, 64, 7, 2);
  const ExpertWeights experts = moe.Pack(*kernels_, dtype());
  TestMat all = TestMat::Random(dtype(), kTokens, 96, 3);
  kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 2, experts, all.mat());

  TestMat alone = TestMat::Random(dtype(), kTokens, 96, 3);
  for (int64_t t = 0; t < kTokens; ++t) {
    kernels_->MoeMlp(ConstMat(moe.x).Rows(t, 1), &moe.ids[t * 2], &moe.weights[t * 2], 2, experts,
                     alone.mat().Rows(t, 1));
  }
  EXPECT_EQ(MaxRelativeError(alone, all), 0.0);

  ThreadTeam single(1);
  CpuGemm gemm(*backend().ops, single);
  for (const size_t piece_bytes : {size_t{1}, size_t{20000}}) {
    CpuMoe in_pieces(*backend().ops, single, gemm, piece_bytes);
    TestMat got = TestMat::Random(dtype(), kTokens, 96, 3);
    in_pieces.Run(moe.x, moe.ids.data(), moe.weights.data(), 2, experts, got.mat());
    EXPECT_EQ(MaxRelativeError(got, all), 0.0) << piece_bytes;
    EXPECT_LT(in_pieces.scratch_bytes(), piece_bytes + kTokens * 96 * sizeof(float) + 2000);
  }
}

// Where each thread takes some of the tokens, y, of seed 3 as that of `want` was, becomes the same.
void ExpectOfWorkers(const CpuOps& ops, const MoeCase& moe, const ExpertWeights& experts,
                     const TestMat& want) {
  for (const int num_threads : {1, 3}) {
    const ConstMat shape = want;
    TestMat got = TestMat::Random(shape.dtype, shape.rows, shape.cols, 3);
    ThreadTeam team(num_threads);
    CpuGemm gemm(ops, team);
    CpuMoe by_workers(ops, team, gemm, CpuMoe::kPieceBytes, 1);
    by_workers.Run(moe.x, moe.ids.data(), moe.weights.data(), moe.top_k, experts, got.mat());
    EXPECT_EQ(MaxRelativeError(got, want), 0.0) << num_threads;
  }
}

TEST_P(MoeTest, WorkersGiveTheSame) {
  constexpr int64_t kTokens = 410;  // more rows of an expert than a tile has
  for (const int64_t hidden : {96, 72}) {
    const MoeCase moe(dtype(), kTokens, hidden, 40, 5, 3);
    const ExpertWeights experts = moe.Pack(*kernels_, dtype());
    TestMat want = TestMat::Random(dtype(), kTokens, hidden, 3);
    CpuGemm gemm(*backend().ops, team_);
    CpuMoe together(*backend().ops, team_, gemm, CpuMoe::kPieceBytes, kTokens * 3);
    together.Run(moe.x, moe.ids.data(), moe.weights.data(), 3, experts, want.mat());
    ExpectOfWorkers(*backend().ops, moe, experts, want);
  }
}

enum class Int8Kind { kDynamic, kStatic, kStaticEach, kDownOnly };

// Experts with 8-bit weights; kStaticEach: each with an input scale and offset of its own.
ExpertWeights PackInt8Experts(Kernels& kernels, Int8Kind kind, const MoeCase& moe, int64_t inter) {
  const int64_t hidden = moe.x.size() ? ConstMat(moe.x).cols : 0;
  ExpertWeights experts;
  for (int32_t e = 0; e < moe.num_experts; ++e) {
    const bool is_static = kind == Int8Kind::kStatic || kind == Int8Kind::kStaticEach;
    const int32_t own = kind == Int8Kind::kStaticEach ? e : 0;
    const float scale = is_static ? 0.03f + 0.002f * static_cast<float>(own) : 0.0f;
    const Int8Weights gate_up(2 * inter, hidden, 10 + e, scale, is_static ? own : 0);
    const Int8Weights down(hidden, inter, 100 + e, scale, is_static ? -own : 0);
    const ConstMat floats = moe.gate_up[e];
    experts.gate_up.push_back(kind == Int8Kind::kDownOnly ? kernels.Pack(std::span(&floats, 1), DType::kF32)
                                                          : gate_up.Pack(kernels));
    experts.down.push_back(down.Pack(kernels));
  }
  return experts;
}

constexpr Int8Kind kInt8Kinds[] = {Int8Kind::kDynamic, Int8Kind::kStatic, Int8Kind::kStaticEach,
                                   Int8Kind::kDownOnly};

TEST_P(MoeTest, Int8MatchesReference) {
  for (const Int8Kind kind : kInt8Kinds) {
    for (const int64_t tokens : {1, 37}) {
      const MoeCase moe(dtype(), tokens, 72, 40, 6, 3);
      TestMat got = TestMat::Random(dtype(), tokens, 72, 3), want = TestMat::Random(dtype(), tokens, 72, 3);
      kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3,
                       PackInt8Experts(*kernels_, kind, moe, 40), got.mat());
      reference_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3,
                         PackInt8Experts(*reference_, kind, moe, 40), want.mat());
      // Where silu * up rounds otherwise, a number of its 8-bit form may be the next one.
      EXPECT_LT(MaxRelativeError(got, want), dtype() == DType::kF32 ? 1e-2 : 3e-2)
          << static_cast<int>(kind) << ", " << tokens;
    }
  }
}

TEST_P(MoeTest, Int8TokensDoNotDependOnTheOthersNorOnPieces) {
  constexpr int64_t kTokens = 23;
  const MoeCase moe(dtype(), kTokens, 96, 64, 7, 2);
  for (const Int8Kind kind : {Int8Kind::kDynamic, Int8Kind::kStaticEach}) {
    const ExpertWeights experts = PackInt8Experts(*kernels_, kind, moe, 64);
    TestMat all = TestMat::Random(dtype(), kTokens, 96, 3), alone = TestMat::Random(dtype(), kTokens, 96, 3);
    kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 2, experts, all.mat());
    for (int64_t t = 0; t < kTokens; ++t) {
      kernels_->MoeMlp(ConstMat(moe.x).Rows(t, 1), &moe.ids[t * 2], &moe.weights[t * 2], 2, experts,
                       alone.mat().Rows(t, 1));
    }
    EXPECT_EQ(MaxRelativeError(alone, all), 0.0);

    ThreadTeam single(1);
    CpuGemm gemm(*backend().ops, single);
    CpuMoe in_pieces(*backend().ops, single, gemm, 20000);
    TestMat got = TestMat::Random(dtype(), kTokens, 96, 3);
    in_pieces.Run(moe.x, moe.ids.data(), moe.weights.data(), 2, experts, got.mat());
    EXPECT_EQ(MaxRelativeError(got, all), 0.0);
  }
}

TEST_P(MoeTest, WorkersGiveTheSameInInt8) {
  for (const Int8Kind kind : kInt8Kinds) {
    const MoeCase moe(dtype(), 40, 72, 40, 6, 3);
    const ExpertWeights experts = PackInt8Experts(*kernels_, kind, moe, 40);
    TestMat want = TestMat::Random(dtype(), 40, 72, 3);
    kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3, experts, want.mat());
    SCOPED_TRACE(static_cast<int>(kind));
    ExpectOfWorkers(*backend().ops, moe, experts, want);
  }
}

// Of the experts, every other one from `first` on is not there, and not chosen.
void Withhold(size_t first, ExpertWeights& experts, std::vector<int32_t>& ids) {
  for (size_t e = first; e < experts.down.size(); e += 2) {
    experts.gate_up[e] = nullptr;
    experts.down[e] = nullptr;
    std::replace(ids.begin(), ids.end(), static_cast<int32_t>(e), -1);
  }
}

TEST_P(MoeTest, AChoiceThatIsNoneAddsNothing) {
  for (const bool int8 : {false, true}) {
    for (const int64_t tokens : {1, 37}) {
      const MoeCase moe(dtype(), tokens, 72, 40, 6, 3);
      const auto pack = [&] {
        return int8 ? PackInt8Experts(*kernels_, Int8Kind::kDynamic, moe, 40) : moe.Pack(*kernels_, dtype());
      };
      TestMat want = TestMat::Random(dtype(), tokens, 72, 3), got = TestMat::Random(dtype(), tokens, 72, 3);
      TestMat by_workers = TestMat::Random(dtype(), tokens, 72, 3);
      kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3, pack(), want.mat());
      CpuGemm gemm(*backend().ops, team_);
      CpuMoe workers(*backend().ops, team_, gemm, CpuMoe::kPieceBytes, 0);
      for (const size_t withheld : {0, 1}) {
        ExpertWeights experts = pack();
        std::vector<int32_t> ids = moe.ids;
        Withhold(withheld, experts, ids);
        kernels_->MoeMlp(moe.x, ids.data(), moe.weights.data(), 3, experts, got.mat());
        workers.Run(moe.x, ids.data(), moe.weights.data(), 3, experts, by_workers.mat());
      }
      EXPECT_LT(MaxRelativeError(got, want), dtype() == DType::kF32 ? 3e-5 : 3e-2) << tokens;
      EXPECT_EQ(MaxRelativeError(by_workers, got), 0.0);
    }
  }
}

TEST_P(MoeTest, RowsThatAreQuantisedAlready) {
  for (const int64_t tokens : {1, 37, 200}) {
    const MoeCase moe(dtype(), tokens, 72, 40, 6, 3);
    const ExpertWeights experts = PackInt8Experts(*kernels_, Int8Kind::kDynamic, moe, 40);
    TestMat want = TestMat::Random(dtype(), tokens, 72, 3), got = TestMat::Random(dtype(), tokens, 72, 3);
    kernels_->MoeMlp(moe.x, moe.ids.data(), moe.weights.data(), 3, experts, want.mat());
    const int64_t cols = kernels_->QuantizedCols(*experts.gate_up[0]), stride = cols + 28;
    std::vector<std::byte> q(tokens * cols), apart(tokens * stride);
    std::vector<float> scales(tokens);
    kernels_->Quantize(moe.x, *experts.gate_up[0], Mat(q.data(), DType::kI8, tokens, cols), scales.data());
    for (int64_t t = 0; t < tokens; ++t) std::memcpy(&apart[t * stride], &q[t * cols], cols);
    kernels_->MoeMlpQuantized(ConstMat(apart.data(), DType::kI8, tokens, cols, stride), scales.data(),
                              moe.ids.data(), moe.weights.data(), 3, experts, got.mat());
    EXPECT_EQ(MaxRelativeError(got, want), 0.0) << tokens;
  }
}

TEST_P(MoeTest, NoChoiceAtAllNeedsNoExpert) {
  const MoeCase moe(dtype(), 5, 72, 40, 6, 3);
  for (Kernels* kernels : {kernels_.get(), reference_.get()}) {
    ExpertWeights none = moe.Pack(*kernels, dtype());
    std::vector<int32_t> ids = moe.ids;
    Withhold(0, none, ids);
    Withhold(1, none, ids);
    TestMat y = TestMat::Random(dtype(), 5, 72, 3);
    kernels->MoeMlp(moe.x, ids.data(), moe.weights.data(), 3, none, y.mat());
    EXPECT_EQ(MaxRelativeError(y, TestMat::Random(dtype(), 5, 72, 3)), 0.0);
  }
}

TEST(RouteTopK, ChoosesAsTheReferenceAlsoInTies) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0f, 2.0f);
  std::vector<float> bias(64);
  for (float& value : bias) value = normal(generator) / 8;
  const RouterShape softmax{.num_experts = 64, .top_k = 8};
  const RouterShape raw{.num_experts = 64, .top_k = 5, .normalize = false, .scaling = 1.5f};
  const RouterShape deepseek{.score = RouterShape::Score::kSigmoid,
                             .num_experts = 64,
                             .top_k = 8,
                             .scaling = 2.5f,
                             .num_groups = 8,
                             .top_k_groups = 4,
                             .bias = bias.data()};
  const RouterShape single_members{.score = RouterShape::Score::kSigmoid,
                                   .num_experts = 64,
                                   .top_k = 2,
                                   .num_groups = 64,
                                   .top_k_groups = 3};
  const RouterShape all{.num_experts = 64, .top_k = 64};
  ThreadTeam team(3);
  const auto kernels = MakeCpuKernels(team);
  const auto reference = MakeRefKernels();
  constexpr int64_t kTokens = 300;
  for (const RouterShape& shape : {softmax, raw, deepseek, single_members, all}) {
    for (const bool ties : {false, true}) {
      TestMat logits(DType::kF32, kTokens, shape.num_experts);
      for (int64_t i = 0; i < logits.size(); ++i) {
        const float value = normal(generator);
        logits.Set(i, ties ? std::round(value) : value);
      }
      std::vector<int32_t> ids(kTokens * shape.top_k), want_ids(ids.size());
      std::vector<float> weights(ids.size()), want_weights(ids.size());
      kernels->RouteTopK(logits, shape, ids.data(), weights.data());
      reference->RouteTopK(logits, shape, want_ids.data(), want_weights.data());
      EXPECT_EQ(ids, want_ids);
      EXPECT_EQ(weights, want_weights);
    }
  }
}

TEST(RouteTopK, NotANumberStillGivesValidExperts) {
  ThreadTeam team(1);
  const std::vector<float> logits(8, NAN);
  std::vector<int32_t> ids(3, -1);
  std::vector<float> weights(3);
  MakeCpuKernels(team)->RouteTopK(ConstMat(logits.data(), DType::kF32, 1, 8), {.num_experts = 8, .top_k = 3},
                                  ids.data(), weights.data());
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 1, 2}));
}

}  // namespace
}  // namespace penstock
