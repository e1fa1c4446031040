// Symmetric 8-bit quantisation of a row of weights: one scale for the row.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

namespace penstock {

// q = round(x / scale), ties to even, with scale = max|x| / 127 (1 for a row of zeros), which is returned;
// nothing if a number is not finite.
std::optional<float> QuantiseRow(const float* x, int64_t count, int8_t* q);

}  // namespace penstock
