// The dense operations of every instruction set that this machine can run or emulate, against the reference.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/cpu_backends_test.h"
#include "kernels/kernels.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

// Largest difference over the root mean square of the result: fp32 sums in another order; half a unit in the
// last place of a bf16 number of several times the mean square.
double Tolerance(DType out) { return out == DType::kF32 ? 3e-5 : 2e-2; }

class DenseTest : public testing::TestWithParam<std::tuple<CpuBackend, DType>> {
 protected:
  const CpuBackend& backend() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }

  ThreadTeam team_{3};
  std::unique_ptr<Kernels> kernels_ = std::get<0>(GetParam()).Make(team_);
  std::unique_ptr<Kernels> reference_ = MakeRefKernels();
};

std::string TestName(const testing::TestParamInfo<std::tuple<CpuBackend, DType>>& info) {
  return std::get<0>(info.param).name + "_" + std::string(DTypeName(std::get<1>(info.param)));
}

INSTANTIATE_TEST_SUITE_P(Cpu, DenseTest,
                         testing::Combine(testing::ValuesIn(TestedBackends()),
                                          testing::Values(DType::kF32, DType::kBF16)),
                         TestName);

struct ProductShape {
  int64_t n, k;
};

std::vector<ProductShape> ProductShapes(bool emulated) {
  if (emulated) return {{1, 1}, {70, 258}, {193, 33}};
  return {{1, 1}, {16, 2}, {17, 31}, {64, 512}, {100, 513}, {193, 1100}, {40, 2050}, {3, 4096}};
}

std::vector<int64_t> RowCounts(bool emulated) {
  if (emulated) return {1, 2, 3, 4, 5, 7, 13, 25};
  return {1, 2, 3, 4, 5, 6, 7, 13, 64, 100, 145, 257};
}

TEST_P(DenseTest, LinearMatchesReferenceAndDoesNotDependOnOtherRows) {
  for (const auto [n, k] : ProductShapes(backend().emulated)) {
    const std::vector<int64_t> row_counts = RowCounts(backend().emulated);
    const int64_t most = row_counts.back();
    const TestMat x = TestMat::Random(dtype(), most, k, 1), w = TestMat::Random(DType::kBF16, n, k, 2, 0.3f);
    const ConstMat part = w;
    const auto packed = kernels_->Pack(std::span(&part, 1), dtype());
    EXPECT_EQ(packed->n(), n);
    EXPECT_EQ(packed->k(), k);
    EXPECT_GE(packed->bytes(), n * k * DTypeBytes(dtype()));
    TestMat want(DType::kF32, most, n), all(DType::kF32, most, n);
    reference_->Linear(x, *reference_->Pack(std::span(&part, 1), dtype()), want.mat());
    kernels_->Linear(x, *packed, all.mat());
    ASSERT_LT(MaxRelativeError(all, want), Tolerance(DType::kF32)) << n << "x" << k;
    for (const int64_t m : row_counts) {
      TestMat y(DType::kF32, m, n);
      kernels_->Linear(ConstMat(x).Rows(most - m, m), *packed, y.mat());
      ASSERT_EQ(std::memcmp(y.mat().data, all.mat().RowPtr(most - m), m * n * sizeof(float)), 0)
          << m << " rows of " << n << "x" << k;
    }
  }
}

TEST_P(DenseTest, LinearRoundsItsOutputToTheActivationType) {
  const TestMat x = TestMat::Random(dtype(), 21, 90, 1), w = TestMat::Random(DType::kF32, 50, 90, 2);
  const ConstMat part = w;
  TestMat got(dtype(), 21, 50), want(dtype(), 21, 50);
  kernels_->Linear(x, *kernels_->Pack(std::span(&part, 1), dtype()), got.mat());
  reference_->Linear(x, *reference_->Pack(std::span(&part, 1), dtype()), want.mat());
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype()));
}

TEST_P(DenseTest, LinearTakesOtherWeightTypesThanTheActivations) {
  const DType other = dtype() == DType::kF32 ? DType::kBF16 : DType::kF32;
  const TestMat x = TestMat::Random(dtype(), 9, 77, 1), w = TestMat::Random(DType::kF32, 70, 77, 2);
  const ConstMat part = w;
  TestMat got(DType::kF32, 9, 70), want(DType::kF32, 9, 70);
  kernels_->Linear(x, *kernels_->Pack(std::span(&part, 1), other), got.mat());
  reference_->Linear(x, *reference_->Pack(std::span(&part, 1), other), want.mat());
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(DType::kF32));
}

TEST_P(DenseTest, LinearAddsBiasAndAccumulatesInStridedViews) {
  constexpr int64_t kRows = 11, kN = 83, kK = 65;
  for (const DType out : {DType::kF32, dtype()}) {
    const TestMat wide = TestMat::Random(dtype(), kRows, kK + 7, 1),
                  w = TestMat::Random(DType::kBF16, kN, kK, 2);
    const TestMat bias = TestMat::Random(DType::kF32, 1, kN, 3, 10.0f);
    const float* bias_data = static_cast<const float*>(ConstMat(bias).data);
    TestMat got = TestMat::Random(out, kRows, kN + 5, 4, 10.0f),
            want = TestMat::Random(out, kRows, kN + 5, 4, 10.0f);
    const TestMat before = TestMat::Random(out, kRows, kN + 5, 4, 10.0f);
    const ConstMat part = w, x = ConstMat(wide).Cols(3, kK);
    const auto packed = kernels_->Pack(std::span(&part, 1), dtype());
    const auto ref_packed = reference_->Pack(std::span(&part, 1), dtype());
    kernels_->Linear(x, *packed, got.mat().Cols(2, kN), bias_data, true);
    reference_->Linear(x, *ref_packed, want.mat().Cols(2, kN), bias_data, true);
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(out));
    for (int64_t r = 0; r < kRows; ++r) {
      for (const int64_t c : {int64_t{0}, int64_t{1}, kN + 2, kN + 4}) {  // beside the view
        ASSERT_EQ(got.Get(r * (kN + 5) + c), before.Get(r * (kN + 5) + c));
      }
    }
    kernels_->Linear(x, *packed, got.mat().Cols(2, kN), bias_data);
    reference_->Linear(x, *ref_packed, want.mat().Cols(2, kN), bias_data);
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(out));
  }
}

TEST_P(DenseTest, PackStacksPartsOfDifferentTypes) {
  constexpr int64_t kK = 70;
  const TestMat top = TestMat::Random(DType::kF32, 5, kK, 1),
                bottom = TestMat::Random(DType::kBF16, 90, kK, 2);
  std::vector<uint16_t> halves(3 * kK);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<uint16_t>(0x3000 + 37 * i % 0x0fff);
  const ConstMat parts[] = {top, ConstMat(halves.data(), DType::kF16, 3, kK), bottom};
  const TestMat x = TestMat::Random(dtype(), 4, kK, 3);
  TestMat got(DType::kF32, 4, 98), want(DType::kF32, 4, 98);
  kernels_->Linear(x, *kernels_->Pack(parts, dtype()), got.mat());
  reference_->Linear(x, *reference_->Pack(parts, dtype()), want.mat());
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(DType::kF32));
}

TEST_P(DenseTest, LinearOfNoRows) {
  const TestMat w = TestMat::Random(DType::kF32, 4, 4, 1);
  const ConstMat part = w;
  const auto packed = kernels_->Pack(std::span(&part, 1), dtype());
  kernels_->Linear(ConstMat(nullptr, dtype(), 0, 4), *packed, Mat(nullptr, dtype(), 0, 4));
}

TEST_P(DenseTest, EmbedConverts) {
  const std::vector<int32_t> ids = {3, 0, 3, 9};
  for (const DType table_type : {DType::kF32, DType::kBF16}) {
    const TestMat table = TestMat::Random(table_type, 10, 37, 1);
    TestMat got(dtype(), 4, 37), want(dtype(), 4, 37);
    kernels_->Embed(ids, table, got.mat());
    reference_->Embed(ids, table, want.mat());
    EXPECT_EQ(MaxRelativeError(got, want), 0.0);
  }
  std::vector<uint16_t> halves(0x7c00);  // every positive half but infinity and NaN
  std::iota(halves.begin(), halves.end(), uint16_t{0});
  const ConstMat table(halves.data(), DType::kF16, 1, halves.size());
  const int32_t id = 0;
  TestMat got(dtype(), 1, halves.size()), want(dtype(), 1, halves.size());
  kernels_->Embed(std::span(&id, 1), table, got.mat());
  reference_->Embed(std::span(&id, 1), table, want.mat());
  EXPECT_EQ(MaxRelativeError(got, want), 0.0);
}

TEST_P(DenseTest, RmsNormInPlaceAndAcrossHeads) {
  for (const int64_t cols : {8, 64, 100, 1027}) {
    const TestMat x = TestMat::Random(dtype(), 300, cols, 1, 3.0f);
    TestMat weight = TestMat::Random(DType::kF32, 1, cols, 2), got(dtype(), 300, cols),
            want(dtype(), 300, cols);
    const auto* weight_data = static_cast<const float*>(weight.mat().data);
    std::memcpy(got.mat().data, ConstMat(x).data, x.size() * DTypeBytes(dtype()));
    kernels_->RmsNorm(got.mat(), weight_data, 1e-6f, got.mat());
    reference_->RmsNorm(x, weight_data, 1e-6f, want.mat());
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype())) << cols;
  }
}

TEST_P(DenseTest, AddRmsNormRoundsTheSumFirst) {
  const TestMat x = TestMat::Random(dtype(), 33, 200, 1), weight = TestMat::Random(DType::kF32, 1, 200, 2);
  TestMat residual = TestMat::Random(dtype(), 33, 200, 3, 8.0f),
          want_sum = TestMat::Random(dtype(), 33, 200, 3, 8.0f);
  TestMat got(dtype(), 33, 200), want(dtype(), 33, 200);
  const auto* weight_data = static_cast<const float*>(ConstMat(weight).data);
  kernels_->AddRmsNorm(residual.mat(), x, weight_data, 1e-5f, got.mat());
  reference_->AddRmsNorm(want_sum.mat(), x, weight_data, 1e-5f, want.mat());
  EXPECT_EQ(MaxRelativeError(residual, want_sum), 0.0);
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype()));
}

TEST_P(DenseTest, NormsAddTheirBias) {
  const TestMat x = TestMat::Random(dtype(), 7, 100, 1), weight = TestMat::Random(DType::kF32, 1, 100, 2),
                bias = TestMat::Random(DType::kF32, 1, 100, 3);
  const auto* weight_data = static_cast<const float*>(ConstMat(weight).data);
  const auto* bias_data = static_cast<const float*>(ConstMat(bias).data);
  TestMat got(dtype(), 7, 100), want(dtype(), 7, 100), plain(dtype(), 7, 100);
  kernels_->RmsNorm(x, weight_data, 1e-6f, got.mat(), bias_data);
  reference_->RmsNorm(x, weight_data, 1e-6f, want.mat(), bias_data);
  reference_->RmsNorm(x, weight_data, 1e-6f, plain.mat());
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype()));
  EXPECT_NEAR(want.Get(305), plain.Get(305) + bias_data[5], dtype() == DType::kF32 ? 1e-6 : 0.05);

  TestMat residual = TestMat::Random(dtype(), 7, 100, 4), want_sum = TestMat::Random(dtype(), 7, 100, 4);
  kernels_->AddRmsNorm(residual.mat(), x, weight_data, 1e-6f, got.mat(), bias_data);
  reference_->AddRmsNorm(want_sum.mat(), x, weight_data, 1e-6f, want.mat(), bias_data);
  EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype()));

  TestMat heads = TestMat::Random(dtype(), 7, 100, 1), want_heads = TestMat::Random(dtype(), 7, 100, 1);
  kernels_->HeadRmsNorm(heads.mat(), 2, 48, weight_data, 1e-6f, bias_data);
  reference_->HeadRmsNorm(want_heads.mat(), 2, 48, weight_data, 1e-6f, bias_data);
  EXPECT_LT(MaxRelativeError(heads, want_heads), Tolerance(dtype()));
  EXPECT_EQ(heads.Get(699), x.Get(699));  // behind the heads
}

TEST_P(DenseTest, AddIsExact) {
  const TestMat x = TestMat::Random(dtype(), 70, 333, 1);
  TestMat got = TestMat::Random(dtype(), 70, 333, 2), want = TestMat::Random(dtype(), 70, 333, 2);
  kernels_->Add(x, got.mat());
  reference_->Add(x, want.mat());
  EXPECT_EQ(MaxRelativeError(got, want), 0.0);
}

TEST_P(DenseTest, RopeRotatesBothStyles) {
  constexpr int32_t kHeads = 3, kHeadStride = 150, kPositions = 40;
  for (const int32_t dim : {2, 10, 32, 64, 128, 140}) {
    RopeTable table{.dim = dim, .max_positions = kPositions, .cos = {}, .sin = {}};
    for (int32_t i = 0; i < kPositions * dim / 2; ++i) {
      table.cos.push_back(std::cos(0.37f * static_cast<float>(i)));
      table.sin.push_back(std::sin(0.37f * static_cast<float>(i)));
    }
    std::vector<int32_t> positions(120);
    for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i * 7 % kPositions);
    for (const RopeStyle style : {RopeStyle::kHalf, RopeStyle::kInterleaved}) {
      TestMat got = TestMat::Random(dtype(), 120, kHeads * kHeadStride, 1);
      TestMat want = TestMat::Random(dtype(), 120, kHeads * kHeadStride, 1);
      kernels_->Rope(got.mat(), kHeads, kHeadStride, positions, table, style);
      reference_->Rope(want.mat(), kHeads, kHeadStride, positions, table, style);
      EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype())) << dim;
    }
  }
}

TEST_P(DenseTest, SiluMulAtAllMagnitudes) {
  for (const float scale : {0.01f, 1.0f, 30.0f, 1000.0f}) {
    const TestMat gate_up = TestMat::Random(dtype(), 50, 2 * 133, 1, scale);
    TestMat got(dtype(), 50, 133), want(dtype(), 50, 133);
    kernels_->SiluMul(gate_up, got.mat());
    reference_->SiluMul(gate_up, want.mat());
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(dtype())) << scale;
  }
  TestMat extremes(dtype(), 1, 8), got(dtype(), 1, 4);
  const float values[8] = {-1e30f, 1e30f, 0.0f, -200.0f, 1.0f, 1.0f, 1.0f, 1.0f};
  for (int i = 0; i < 8; ++i) extremes.Set(i, values[i]);
  kernels_->SiluMul(extremes, got.mat());
  EXPECT_LE(std::fabs(got.Get(0)), 1e-6f);
  EXPECT_GT(got.Get(1), 0.99e30f);
  EXPECT_EQ(got.Get(2), 0.0f);
  EXPECT_LE(std::fabs(got.Get(3)), 1e-30f);
}

TEST(ChooseTileShape, CoversTheProductInEqualWork) {
  for (const CpuBackend& backend : TestedBackends()) {
    for (const int threads : {1, 2, 7, 16}) {
      for (const int64_t rows : {1, 5, 64, 512, 2048, 8192}) {
        for (const int64_t cols : {64, 1024, 6144, 32768}) {
          const int64_t panels = cols / backend.ops->panel_cols;
          const TileShape shape = ChooseTileShape(*backend.ops, rows, panels, threads);
          ASSERT_GE(shape.rows, 1);
          ASSERT_LE(shape.rows, backend.ops->max_tile_rows);
          ASSERT_GE(shape.panels, 1);
          ASSERT_LE(shape.panels, panels);
          if (cols * rows < 64 * 1024 * threads || panels < 4 * threads) continue;
          const int64_t tiles = CeilDiv(rows, shape.rows) * CeilDiv(panels, shape.panels);
          const int64_t busiest = CeilDiv<int64_t>(tiles, threads) * shape.rows * shape.panels;
          ASSERT_LE(static_cast<double>(busiest * threads),
                    1.3 * static_cast<double>(RoundUp(rows, shape.rows) * panels))
              << rows << " rows, " << cols << " columns, " << threads << " threads";
        }
      }
    }
  }
}

TEST(MakeCpuKernels, NamesAndForcedChoice) {
  ThreadTeam team(1);
  const auto isas = UsableCpuIsas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.back(), "generic");
  EXPECT_EQ(MakeCpuKernels(team)->name(), isas.front());
  for (const auto isa : isas) EXPECT_EQ(MakeCpuKernels(team, isa)->name(), isa);
  EXPECT_EQ(MakeCpuKernels(team, "sse9"), nullptr);
}

}  // namespace
}  // namespace penstock
