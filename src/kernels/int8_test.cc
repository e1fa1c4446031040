// Products in 8-bit integers of every instruction set that this machine can run or emulate, against the
// reference and against exact integers.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/thread_team.h"
#include "kernels/cpu_backends_test.h"
#include "kernels/kernels.h"
#include "kernels/testing/int8_test_util.h"
#include "kernels/testing/kernels_test_util.h"

namespace penstock {
namespace {

constexpr float kInputScale = 0.03f;  // static: reaches ± 3.8 standard deviations
constexpr int32_t kInputOffset = -7;

// Sums are exact; a few roundings of fp32 remain. Of bf16, half a unit in the last place.
double Tolerance(DType out) { return out == DType::kF32 ? 1e-6 : 2e-2; }

Int8Weights MakeWeights(int64_t n, int64_t k, bool is_static, uint32_t seed = 2) {
  return is_static ? Int8Weights(n, k, seed, kInputScale, kInputOffset) : Int8Weights(n, k, seed);
}

class Int8Test : public testing::TestWithParam<std::tuple<CpuBackend, DType>> {
 protected:
  const CpuBackend& backend() const { return std::get<0>(GetParam()); }
  DType dtype() const { return std::get<1>(GetParam()); }

  ThreadTeam team_{3};
  std::unique_ptr<Kernels> kernels_ = std::get<0>(GetParam()).Make(team_);
  std::unique_ptr<Kernels> reference_ = MakeRefKernels();
};

INSTANTIATE_TEST_SUITE_P(Cpu, Int8Test,
                         testing::Combine(testing::ValuesIn(TestedBackends()),
                                          testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& info) {
                           return std::get<0>(info.param).name + "_" +
                                  std::string(DTypeName(std::get<1>(info.param)));
                         });

struct ProductShape {
  int64_t n, k, most_rows;
};

std::vector<ProductShape> ProductShapes(bool emulated) {
  if (emulated) return {{1, 1, 2}, {70, 259, 7}, {33, 1030, 13}};
  return {{1, 1, 7},      {17, 31, 513},  {64, 64, 64},  {100, 67, 513},
          {193, 513, 13}, {80, 1100, 64}, {40, 2050, 7}, {64, 4130, 7}};
}

TEST_P(Int8Test, LinearMatchesReferenceAndDoesNotDependOnOtherRows) {
  for (const auto [n, k, most] : ProductShapes(backend().emulated)) {
    for (const bool is_static : {false, true}) {
      const TestMat x = TestMat::Random(dtype(), most, k, 1);
      const Int8Weights w = MakeWeights(n, k, is_static);
      const auto packed = w.Pack(*kernels_);
      ASSERT_EQ(packed->n(), n);
      ASSERT_EQ(packed->k(), k);
      TestMat want(DType::kF32, most, n), all(DType::kF32, most, n);
      reference_->Linear(x, *w.Pack(*reference_), want.mat());
      kernels_->Linear(x, *packed, all.mat());
      ASSERT_LT(MaxRelativeError(all, want), Tolerance(DType::kF32)) << n << "x" << k << " " << is_static;
      for (const int64_t m : {1, 2, 5, 7, 64}) {
        if (m >= most) break;
        TestMat y(DType::kF32, m, n);
        kernels_->Linear(ConstMat(x).Rows(most - m, m), *packed, y.mat());
        ASSERT_EQ(std::memcmp(y.mat().data, all.mat().RowPtr(most - m), m * n * sizeof(float)), 0)
            << m << " rows of " << n << "x" << k;
      }
    }
  }
}

TEST_P(Int8Test, LinearAddsBiasAndAccumulatesInStridedViews) {
  constexpr int64_t kRows = 11;
  for (const int64_t n : {64, 83}) {  // with and without a block that is not full
    for (const DType out : {DType::kF32, dtype()}) {
      const Int8Weights w = MakeWeights(n, 65, true);
      const TestMat wide = TestMat::Random(dtype(), kRows, 65 + 7, 1);
      const TestMat bias = TestMat::Random(DType::kF32, 1, n, 3, 10.0f);
      const float* bias_data = static_cast<const float*>(ConstMat(bias).data);
      const TestMat before = TestMat::Random(out, kRows, n + 5, 4, 10.0f);
      const auto packed = w.Pack(*kernels_), ref_packed = w.Pack(*reference_);
      const ConstMat x = ConstMat(wide).Cols(3, 65);
      for (const bool accumulate : {false, true}) {
        TestMat got = TestMat::Random(out, kRows, n + 5, 4, 10.0f);
        TestMat want = TestMat::Random(out, kRows, n + 5, 4, 10.0f);
        kernels_->Linear(x, *packed, got.mat().Cols(2, n), bias_data, accumulate);
        reference_->Linear(x, *ref_packed, want.mat().Cols(2, n), bias_data, accumulate);
        EXPECT_LT(MaxRelativeError(got, want), Tolerance(out));
        for (int64_t r = 0; r < kRows; ++r) {
          for (const int64_t c : {int64_t{0}, int64_t{1}, n + 2, n + 4})  // beside the view
            ASSERT_EQ(got.Get(r * (n + 5) + c), before.Get(r * (n + 5) + c));
        }
      }
    }
  }
}

TEST_P(Int8Test, PackStacksPartsWithScalesOfTheirOwn) {
  for (const bool is_static : {false, true}) {
    const Int8Weights first = MakeWeights(5, 70, is_static, 1), second = MakeWeights(90, 70, is_static, 2),
                      third = MakeWeights(33, 70, is_static, 3);
    const Int8Part parts[] = {first.part(), second.part(), third.part()};
    const TestMat x = TestMat::Random(dtype(), 4, 70, 3);
    TestMat got(DType::kF32, 4, 128), want(DType::kF32, 4, 128);
    kernels_->Linear(x, *kernels_->PackInt8(parts), got.mat());
    for (int64_t i = 0, col = 0; i < 3; col += parts[i++].n) {
      reference_->Linear(x, *reference_->PackInt8(std::span(&parts[i], 1)), want.mat().Cols(col, parts[i].n));
    }
    EXPECT_LT(MaxRelativeError(got, want), Tolerance(DType::kF32));
  }
}

TEST_P(Int8Test, WeightsAreHeldInOneByteEach) {
  constexpr int64_t kN = 640, kK = 1024;
  const auto packed = Int8Weights(kN, kK, 1).Pack(*kernels_);
  EXPECT_GE(packed->bytes(), kN * kK);
  EXPECT_LE(packed->bytes(), kN * (kK + 8));
}

// x constant, so that every q is the same: y is exactly (q * sum of the row + quant_bias) * deq_scale. The
// largest sums that there are: rows of -128 or 127 alone, and k up to the most.
TEST_P(Int8Test, ConstantInputGivesExactIntegersUpToTheLargest) {
  for (const int64_t k : {3, 64, 1027, 65536}) {
    if (backend().emulated && k > 1027) continue;
    Int8Weights w(3, k, 1, 0.5f, 1);
    std::fill_n(w.weight.begin(), k, int8_t{-128});
    std::fill_n(w.weight.begin() + k, k, int8_t{127});
    w.deq_scale = {1.0f, 1.0f, 1.0f};
    w.quant_bias = {0, 100, -100};
    const auto packed = w.Pack(*kernels_);
    for (const int32_t q : {-128, -1, 0, 127}) {
      TestMat x(dtype(), 7, k), y(DType::kF32, 7, 3);
      x.Fill(0.5f * static_cast<float>(q - 1));
      kernels_->Linear(x, *packed, y.mat());
      for (int64_t i = 0; i < y.size(); ++i) {
        ASSERT_EQ(y.Get(i), static_cast<float>(q * w.RowSum(i % 3) + w.quant_bias[i % 3]))
            << q << ", k " << k;
      }
    }
  }
}

TEST_P(Int8Test, InputBeyondTheRangeSaturates) {
  Int8Weights w(2, 2, 1, 1.0f, 3);
  w.weight = {1, 0, 0, 1};
  w.deq_scale = {1.0f, 1.0f};
  w.quant_bias = {0, 0};
  TestMat x(dtype(), 4, 2), y(DType::kF32, 4, 2);
  const float inputs[] = {1e38f, -1e38f, 1000.0f, -1000.0f, INFINITY, -INFINITY, 124.0f, -131.0f};
  for (int64_t i = 0; i < 8; ++i) x.Set(i, inputs[i]);
  kernels_->Linear(x, *w.Pack(*kernels_), y.mat());
  for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(y.Get(i), i % 2 == 0 ? 127.0f : -128.0f) << i;
}

TEST_P(Int8Test, ZeroInputGivesTheBias) {
  constexpr int64_t kN = 70, kK = 130;
  const TestMat bias = TestMat::Random(DType::kF32, 1, kN, 5);
  const TestMat x(dtype(), 3, kK);
  TestMat y(DType::kF32, 3, kN);
  Int8Weights w = MakeWeights(kN, kK, true);
  for (int64_t i = 0; i < kN; ++i) w.quant_bias[i] = w.QuantBias(bias.Get(i), i);
  kernels_->Linear(x, *w.Pack(*kernels_), y.mat());
  for (int64_t i = 0; i < y.size(); ++i)
    ASSERT_NEAR(y.Get(i), bias.Get(i % kN), 0.501f * w.deq_scale[i % kN]);  // of the rounding to units
  kernels_->Linear(x, *Int8Weights(kN, kK, 2).Pack(*kernels_), y.mat(),
                   static_cast<const float*>(ConstMat(bias).data));
  for (int64_t i = 0; i < y.size(); ++i) ASSERT_EQ(y.Get(i), bias.Get(i % kN));
}

TEST_P(Int8Test, BothKindsAreCloseToTheProductInFloats) {
  constexpr int64_t kN = 40, kK = 512;
  Int8Weights fixed = MakeWeights(kN, kK, true);
  const Int8Weights dynamic = MakeWeights(kN, kK, false);
  for (int64_t i = 0; i < kN; ++i) fixed.quant_bias[i] = fixed.QuantBias(0.0f, i);
  const std::vector<float> floats = fixed.Floats();
  ASSERT_EQ(dynamic.Floats(), floats);
  const ConstMat part(floats.data(), DType::kF32, kN, kK);
  const TestMat x = TestMat::Random(dtype(), 9, kK, 1, 0.8f);  // no number is cut off
  TestMat want(DType::kF32, 9, kN), from_static(DType::kF32, 9, kN), from_dynamic(DType::kF32, 9, kN);
  reference_->Linear(x, *reference_->Pack(std::span(&part, 1), DType::kF32), want.mat());
  kernels_->Linear(x, *fixed.Pack(*kernels_), from_static.mat());
  kernels_->Linear(x, *dynamic.Pack(*kernels_), from_dynamic.mat());
  EXPECT_LT(MaxRelativeError(from_static, want), 0.05);
  EXPECT_LT(MaxRelativeError(from_dynamic, want), 0.04);
  EXPECT_GT(MaxRelativeError(from_dynamic, want), 1e-4);  // it did quantise
}

TEST_P(Int8Test, ScalesOfTokensAreTheirOwn) {
  constexpr int64_t kK = 70;
  TestMat x = TestMat::Random(dtype(), 6, kK, 1), y(DType::kF32, 6, 20), want(DType::kF32, 6, 20);
  for (int64_t i = 0; i < kK; ++i) {
    x.Set(i, x.Get(i) * 1e30f);
    x.Set(kK + i, x.Get(kK + i) * 1e-20f);
    x.Set(2 * kK + i, 1e-31f);
  }
  x.Set(3 * kK + 69, NAN);
  x.Set(4 * kK + 1, -INFINITY);
  const Int8Weights w(20, kK, 1);
  kernels_->Linear(x, *w.Pack(*kernels_), y.mat());
  reference_->Linear(x, *w.Pack(*reference_), want.mat());
  for (int64_t i = 0; i < y.size(); ++i) {
    const int64_t row = i / 20;
    if (row == 3 || row == 4) {
      EXPECT_TRUE(std::isnan(y.Get(i)) && std::isnan(want.Get(i))) << i;
    } else {
      EXPECT_NEAR(y.Get(i), row == 2 ? 0.0f : want.Get(i), 1e-6 * std::fabs(want.Get(i))) << i;
    }
  }
}

TEST_P(Int8Test, LinearOfNoRows) {
  kernels_->Linear(ConstMat(nullptr, dtype(), 0, 4), *Int8Weights(4, 4, 1).Pack(*kernels_),
                   Mat(nullptr, dtype(), 0, 4));
}

// Also where x / scale lies at or beside the middle between two integers: a product with the reciprocal alone
// would often be wrong there.
TEST_P(Int8Test, QuantisesAsADivisionDoes) {
  for (const float scale : {0.0f, 0.037f, 1e-7f}) {  // 0: dynamic
    for (const int64_t k : {1, 37, 4001}) {
      if (backend().emulated && k > 37) continue;
      TestMat x(dtype(), 1, k);
      x.Set(0, 127.0f * 0.0107f);
      const float used = scale > 0 ? scale : x.Get(0) / 127.0f;
      for (int64_t i = 1; i < k; ++i) {
        const float middle = used * (static_cast<float>(i % 254) - 126.5f);
        x.Set(i, i % 3 == 0 ? middle : std::nextafter(middle, i % 3 == 1 ? 0.0f : 2 * middle));
      }
      std::vector<uint8_t> q(k + 16);
      float got_scale = 0;
      backend().ops->quantize_rows({.x = {ConstMat(x).data, k},
                                    .dtype = dtype(),
                                    .num_rows = 1,
                                    .num_cols = k,
                                    .input_scale = scale,
                                    .input_offset = scale > 0 ? 5 : 0,
                                    .q = q.data(),
                                    .q_stride = k,
                                    .scale = &got_scale});
      ASSERT_EQ(got_scale, scale > 0 ? 0.0f : used);
      for (int64_t i = 0; i < k; ++i) {
        const float exact = x.Get(i) / used + (scale > 0 ? 5.0f : 0.0f);
        ASSERT_EQ(q[i] - 128, std::nearbyint(std::clamp(exact, -128.0f, 127.0f)))
            << x.Get(i) << " / " << used;
      }
    }
  }
}

}  // namespace
}  // namespace penstock
