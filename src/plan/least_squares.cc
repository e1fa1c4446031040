// One-sided Jacobi (Hestenes): the columns of A are rotated in pairs until all are orthogonal. Then A V = W
// with V orthogonal and the lengths of W's columns the singular values, and x = Σ_k V_k (W_k · y) / |W_k|².
// More exact than the usual route over a bidiagonal form where the columns' lengths differ by many orders of
// magnitude, as those of 1, l and l² do.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/least_squares.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr double kRoundingShare = 1e-12;
constexpr int kMostSweeps = 60;  // it takes about five

double Dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

template <typename Vector>
void Rotate(Vector& p, Vector& q, double cosine, double sine) {
  for (size_t i = 0; i < p.size(); ++i) {
    const double old_p = p[i];
    p[i] = cosine * old_p - sine * q[i];
    q[i] = sine * old_p + cosine * q[i];
  }
}

// Makes two columns orthogonal, and does the same to V's. Returns whether they were not.
bool MakeOrthogonal(std::vector<double>& p, std::vector<double>& q, Triple& v_p, Triple& v_q) {
  const double pp = Dot(p, p), qq = Dot(q, q), pq = Dot(p, q);
  if (std::abs(pq) <= kEpsilon * std::sqrt(pp) * std::sqrt(qq)) return false;
  const double zeta = (qq - pp) / (2 * pq);
  const double tangent = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::hypot(1, zeta));
  const double cosine = 1 / std::hypot(1, tangent);
  Rotate(p, q, cosine, cosine * tangent);
  Rotate(v_p, v_q, cosine, cosine * tangent);
  return true;
}

}  // namespace

std::optional<Triple> LeastSquares(std::span<const Triple> rows, std::span<const double> values) {
  CHECK_EQ(rows.size(), values.size());
  if (rows.empty()) return std::nullopt;
  std::array<std::vector<double>, 3> w;
  for (const Triple& row : rows) {
    for (size_t k = 0; k < 3; ++k) w[k].push_back(row[k]);
  }
  const std::vector<double> y(values.begin(), values.end());
  const auto is_finite = [](double x) { return std::isfinite(x); };
  bool all_finite = std::all_of(y.begin(), y.end(), is_finite);
  for (const std::vector<double>& column : w) {
    all_finite &= std::all_of(column.begin(), column.end(), is_finite);
  }
  if (!all_finite) return std::nullopt;

  std::array<Triple, 3> v = {Triple{1, 0, 0}, Triple{0, 1, 0}, Triple{0, 0, 1}};
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    bool any = MakeOrthogonal(w[0], w[1], v[0], v[1]);
    any |= MakeOrthogonal(w[0], w[2], v[0], v[2]);
    any |= MakeOrthogonal(w[1], w[2], v[1], v[2]);
    if (!any) break;
  }

  Triple squares = {};
  for (size_t k = 0; k < 3; ++k) squares[k] = Dot(w[k], w[k]);
  const double cut = kEpsilon * static_cast<double>(std::max<size_t>(rows.size(), 3)) *
                     std::sqrt(*std::max_element(squares.begin(), squares.end()));
  Triple x = {};
  for (size_t k = 0; k < 3; ++k) {
    if (std::sqrt(squares[k]) <= cut) continue;
    const double along = Dot(w[k], y) / squares[k];
    for (size_t i = 0; i < 3; ++i) x[i] += v[k][i] * along;
  }
  if (!std::all_of(x.begin(), x.end(), is_finite)) return std::nullopt;
  return x;
}

std::optional<Triple> LeastSquaresWithoutRounding(std::span<const Triple> rows,
                                                  std::span<const double> values) {
  std::optional<Triple> x = LeastSquares(rows, values);
  if (!x) return x;
  double largest_value = 0;
  for (double value : values) largest_value = std::max(largest_value, std::abs(value));
  for (size_t k = 0; k < 2; ++k) {
    double largest = 0;
    for (const Triple& row : rows) largest = std::max(largest, std::abs(row[k]));
    if (std::abs((*x)[k]) * largest <= kRoundingShare * largest_value) (*x)[k] = 0;
  }
  return x;
}

}  // namespace penstock
