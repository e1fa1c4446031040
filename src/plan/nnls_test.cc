// SPDX-License-Identifier: Apache-2.0
#include "plan/nnls.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace penstock {
namespace {

// Gaussian elimination with full pivots over the unknowns in `mask`; nothing where they are dependent.
bool SolveSubset(const NormalEquations& eq, unsigned mask, UnknownVector* x) {
  const int n = eq.num_unknowns;
  std::array<UnknownVector, kMaxUnknowns> a = eq.a;
  UnknownVector b = eq.b;
  std::array<int, kMaxUnknowns> pivot_row{};
  unsigned rows = mask, columns = mask;
  while (columns != 0) {
    int row = -1, column = -1;
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j < n; ++j) {
        if (!(rows >> i & 1) || !(columns >> j & 1)) continue;
        if (row < 0 || std::abs(a[i][j]) > std::abs(a[row][column])) row = i, column = j;
      }
    }
    if (std::abs(a[row][column]) < 1e-10 * eq.a[column][column]) return false;
    rows &= ~(1u << row);
    columns &= ~(1u << column);
    pivot_row[column] = row;
    for (int i = 0; i < n; ++i) {
      if (i == row || !(mask >> i & 1)) continue;
      const double factor = a[i][column] / a[row][column];
      for (int j = 0; j < n; ++j) a[i][j] -= factor * a[row][j];
      b[i] -= factor * b[row];
    }
  }
  x->fill(0);
  for (int j = 0; j < n; ++j) {
    if (mask >> j & 1) (*x)[j] = b[pivot_row[j]] / a[pivot_row[j]][j];
  }
  return true;
}

double BruteForce(const NormalEquations& eq) {
  double best = 0;
  for (unsigned mask = 1; mask < 1u << eq.num_unknowns; ++mask) {
    UnknownVector x;
    if (!SolveSubset(eq, mask, &x)) continue;
    bool feasible = true;
    for (double value : x) feasible = feasible && value >= 0;
    if (feasible) best = std::min(best, eq.Objective(x));
  }
  return best;
}

NormalEquations Random(std::mt19937* rng, int num_unknowns, int num_rows, bool correlated) {
  std::normal_distribution<double> normal;
  NormalEquations eq{.num_unknowns = num_unknowns};
  UnknownVector unit{};
  for (double& value : unit) value = std::pow(10.0, 3 * normal(*rng));
  for (int r = 0; r < num_rows; ++r) {
    UnknownVector row{};
    const double common = normal(*rng);
    for (int i = 0; i < num_unknowns; ++i) {
      row[i] = unit[i] * (correlated ? 3 + common + 0.1 * normal(*rng) : normal(*rng));
    }
    eq.AddRow(row, normal(*rng) + (correlated ? 2 : 0.5));
  }
  return eq;
}

void ExpectOptimal(const NormalEquations& eq) {
  const UnknownVector x = SolveNonNegative(eq);
  for (double value : x) {
    ASSERT_TRUE(std::isfinite(value));
    ASSERT_GE(value, 0);
  }
  const double best = BruteForce(eq);
  ASSERT_LE(eq.Objective(x), best + 1e-6 * std::abs(best) + 1e-9);
}

TEST(SolveNonNegative, AgreesWithAllActiveSets) {
  std::mt19937 rng(1);
  for (int trial = 0; trial < 400; ++trial) {
    SCOPED_TRACE(trial);
    ExpectOptimal(Random(&rng, 1 + trial % kMaxUnknowns, 20, trial % 2 == 0));
  }
}

TEST(SolveNonNegative, FewerRowsThanUnknowns) {
  std::mt19937 rng(2);
  for (int trial = 0; trial < 200; ++trial) {
    SCOPED_TRACE(trial);
    ExpectOptimal(Random(&rng, 7, 1 + trial % 6, trial % 2 == 0));
  }
}

TEST(SolveNonNegative, SameColumnTwiceAndColumnOfZeros) {
  std::mt19937 rng(3);
  std::normal_distribution<double> normal;
  for (int trial = 0; trial < 100; ++trial) {
    NormalEquations eq{.num_unknowns = 5};
    for (int r = 0; r < 12; ++r) {
      const double a = normal(rng), b = normal(rng);
      const UnknownVector row = {a, b, 0, 1000 * a, a + b};
      eq.AddRow(row, a + 2 * b + 0.1 * normal(rng));
    }
    SCOPED_TRACE(trial);
    ExpectOptimal(eq);
    ASSERT_EQ(SolveNonNegative(eq)[2], 0);
  }
}

TEST(SolveNonNegative, FindsTheCoefficientsThatMadeTheRows) {
  NormalEquations eq{.num_unknowns = 3};
  for (int i = 0; i < 10; ++i) {
    const UnknownVector row = {1, 1e6 * i, 1e-6 * i * i};
    eq.AddRow(row, 3 + 2e-3 * 1e6 * i, 1 + i);
  }
  const UnknownVector x = SolveNonNegative(eq);
  EXPECT_NEAR(x[0], 3, 1e-6);
  EXPECT_NEAR(x[1], 2e-3, 1e-9);
  EXPECT_NEAR(x[2], 0, 1);
}

TEST(SolveNonNegative, NothingForWhatIsNotFinite) {
  NormalEquations eq{.num_unknowns = 2};
  const UnknownVector row = {1, 2};
  eq.AddRow(row, 3);
  for (double bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    NormalEquations broken = eq;
    broken.a[0][1] = bad;
    EXPECT_EQ(SolveNonNegative(broken), UnknownVector{});
    broken = eq;
    broken.b[1] = bad;
    EXPECT_EQ(SolveNonNegative(broken), UnknownVector{});
  }
  EXPECT_EQ(SolveNonNegative({}), UnknownVector{});
}

}  // namespace
}  // namespace penstock
