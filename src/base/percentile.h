// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace penstock {

// The `percent`th percentile with linear interpolation, as numpy's. `values` is not empty.
double Percentile(std::span<const double> values, double percent);
// Their arithmetic mean. `values` is not empty.
double Mean(std::span<const double> values);

}  // namespace penstock
