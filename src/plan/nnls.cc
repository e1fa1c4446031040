// SPDX-License-Identifier: Apache-2.0
#include "plan/nnls.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace penstock {
namespace {

constexpr double kSmallestPivot = 1e-11;     // of columns scaled to 1: below, the column is made up of others
constexpr double kSmallestGradient = 1e-10;  // of the largest |b|

bool IsFinite(const NormalEquations& equations) {
  for (int i = 0; i < equations.num_unknowns; ++i) {
    if (!std::isfinite(equations.b[i])) return false;
    for (int j = 0; j < equations.num_unknowns; ++j) {
      if (!std::isfinite(equations.a[i][j])) return false;
    }
  }
  return true;
}

// The unknowns that may be > 0, and the least squares over them alone.
class ActiveSet {
 public:
  explicit ActiveSet(const NormalEquations& scaled) : eq_(scaled) {}

  // Adds the unknown and goes down to the least objective with it, dropping what becomes 0 on the way. False:
  // nothing to gain from it, and nothing changed.
  bool Enter(int unknown) {
    free_[unknown] = true;
    UnknownVector target;
    if (!SolveFree(&target) || target[unknown] <= 0) {
      free_[unknown] = false;
      return false;
    }
    while (!MoveTo(target)) {
      if (!SolveFree(&target)) break;  // x is feasible and no worse than before
    }
    return true;
  }

  bool is_free(int unknown) const { return free_[unknown]; }
  const UnknownVector& x() const { return x_; }
  double HalfGradient(int unknown) const {  // downhill: > 0 where growing helps
    double sum = eq_.b[unknown];
    for (int j = 0; j < eq_.num_unknowns; ++j) sum -= eq_.a[unknown][j] * x_[j];
    return sum;
  }

 private:
  // Towards the target as far as x stays >= 0. True: arrived. False: at least one unknown was dropped.
  bool MoveTo(const UnknownVector& target) {
    double step = 1;
    int first = -1;
    for (int i = 0; i < eq_.num_unknowns; ++i) {
      if (!free_[i] || target[i] > 0) continue;
      const double room = x_[i] > 0 ? x_[i] / (x_[i] - target[i]) : 0;
      if (first < 0 || room < step) {
        step = room;
        first = i;
      }
    }
    for (int i = 0; i < eq_.num_unknowns; ++i) {
      if (free_[i]) x_[i] = std::max(0.0, x_[i] + step * (target[i] - x_[i]));
    }
    if (first < 0) return true;
    for (int i = 0; i < eq_.num_unknowns; ++i) {
      if (!free_[i] || (i != first && (x_[i] > 0 || target[i] > 0))) continue;
      free_[i] = false;
      x_[i] = 0;
    }
    return false;
  }

  // Cholesky over the free unknowns. False: they are not independent.
  bool SolveFree(UnknownVector* solution) const {
    int index[kMaxUnknowns], n = 0;
    for (int i = 0; i < eq_.num_unknowns; ++i) {
      if (free_[i]) index[n++] = i;
    }
    double l[kMaxUnknowns][kMaxUnknowns];
    double y[kMaxUnknowns];
    for (int i = 0; i < n; ++i) {
      for (int j = 0; j <= i; ++j) {
        double sum = eq_.a[index[i]][index[j]];
        for (int k = 0; k < j; ++k) sum -= l[i][k] * l[j][k];
        if (i == j && !(sum > kSmallestPivot)) return false;
        l[i][j] = i == j ? std::sqrt(sum) : sum / l[j][j];
      }
      double sum = eq_.b[index[i]];
      for (int k = 0; k < i; ++k) sum -= l[i][k] * y[k];
      y[i] = sum / l[i][i];
    }
    for (int i = n - 1; i >= 0; --i) {
      for (int k = i + 1; k < n; ++k) y[i] -= l[k][i] * y[k];
      y[i] /= l[i][i];
    }
    solution->fill(0);
    for (int i = 0; i < n; ++i) (*solution)[index[i]] = y[i];
    return true;
  }

  const NormalEquations& eq_;
  std::array<bool, kMaxUnknowns> free_{};
  UnknownVector x_{};
};

// The active set of the steepest way down that leads anywhere, until there is none.
UnknownVector SolveScaled(const NormalEquations& scaled) {
  const int n = scaled.num_unknowns;
  double largest = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::abs(scaled.b[i]));
  ActiveSet set(scaled);
  std::array<bool, kMaxUnknowns> useless{};
  // Each round lowers the objective, so that no set comes twice; the bound is against rounding.
  for (int round = 0; round < 16 * kMaxUnknowns; ++round) {
    int best = -1;
    double steepest = kSmallestGradient * largest;
    for (int i = 0; i < n; ++i) {
      if (set.is_free(i) || useless[i] || set.HalfGradient(i) <= steepest) continue;
      steepest = set.HalfGradient(i);
      best = i;
    }
    if (best < 0) break;
    if (set.Enter(best)) {
      useless.fill(false);
    } else {
      useless[best] = true;
    }
  }
  return set.x();
}

}  // namespace

// Over all that there is room for: loops of a known length are vectors.
void NormalEquations::AddRow(const UnknownVector& row, double target, double weight) {
  for (int i = 0; i < kMaxUnknowns; ++i) {
    const double weighted = weight * row[i];
    for (int j = 0; j < kMaxUnknowns; ++j) a[i][j] += weighted * row[j];
    b[i] += weighted * target;
  }
}

double NormalEquations::Objective(const UnknownVector& x) const {
  double sum = 0;
  for (int i = 0; i < num_unknowns; ++i) {
    double ax = -2 * b[i];
    for (int j = 0; j < num_unknowns; ++j) ax += a[i][j] * x[j];
    sum += x[i] * ax;
  }
  return sum;
}

UnknownVector SolveNonNegative(const NormalEquations& equations) {
  const int n = equations.num_unknowns;
  CHECK(n >= 0 && n <= kMaxUnknowns);
  if (!IsFinite(equations)) return {};
  UnknownVector scale{};
  NormalEquations scaled{.num_unknowns = n};
  for (int i = 0; i < n; ++i) scale[i] = equations.a[i][i] > 0 ? 1 / std::sqrt(equations.a[i][i]) : 0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) scaled.a[i][j] = equations.a[i][j] * scale[i] * scale[j];
    scaled.b[i] = equations.b[i] * scale[i];
  }
  UnknownVector x = SolveScaled(scaled);
  for (int i = 0; i < n; ++i) {
    x[i] *= scale[i];
    if (!std::isfinite(x[i])) x[i] = 0;
  }
  return x;
}

}  // namespace penstock
