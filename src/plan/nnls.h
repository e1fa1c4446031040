// Non-negative least squares for a handful of unknowns, on the normal equations: x >= 0 that minimises
// x'Ax - 2 b'x. Lawson and Hanson's active sets (Solving Least Squares Problems, 1974, chapter 23).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

namespace penstock {

inline constexpr int kMaxUnknowns = 8;
using UnknownVector = std::array<double, kMaxUnknowns>;

// Σ weight * (row · x - target)², up to a constant.
struct NormalEquations {
  int num_unknowns = 0;  // 0 … kMaxUnknowns
  std::array<UnknownVector, kMaxUnknowns>
      a{};            // [num_unknowns, num_unknowns], symmetric, positive semi-definite
  UnknownVector b{};  // [num_unknowns]

  void AddRow(const UnknownVector& row, double target, double weight = 1);  // row: [num_unknowns], then 0s
  double Objective(const UnknownVector& x) const;                           // x'Ax - 2 b'x
};

// Columns are scaled first, so units do not matter. Where A does not determine x, one of the solutions: a
// column that others make up to rounding stays 0. Always ends, always with x finite and >= 0; 0 where A or b
// are not finite.
UnknownVector SolveNonNegative(const NormalEquations& equations);

}  // namespace penstock
