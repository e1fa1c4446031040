// Least squares in three unknowns, as numpy.linalg.lstsq(rcond=None) solves it: by singular values, those
// below eps * max(rows, 3) of the largest taken as 0, so that of several solutions the one of least norm
// comes back.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <span>

namespace penstock {

using Triple = std::array<double, 3>;

// x that minimises Σ (rows[i] · x - values[i])². Nothing where a number is not finite or there is no row.
// REQUIRES: rows.size() == values.size().
std::optional<Triple> LeastSquares(std::span<const Triple> rows, std::span<const double> values);

// The same with 0 for what is rounding: those of the first two that nowhere explain more than 1e-12 of the
// largest value. Their sign, which numpy's users take for a property of the data, is random.
std::optional<Triple> LeastSquaresWithoutRounding(std::span<const Triple> rows,
                                                  std::span<const double> values);

}  // namespace penstock
