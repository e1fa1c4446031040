// Loops with constant indices. For the per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>
#include <utility>

namespace penstock {
namespace {

// body(0), …, body(N - 1) with constant arguments: indices into arrays of vectors must be constants, or the
// compiler keeps the arrays in memory.
template <int N, typename Body>
[[gnu::always_inline]] inline void Unroll(const Body& body) {
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (body(std::integral_constant<int, i>{}), ...);
  }(std::make_integer_sequence<int, N>{});
}

}  // namespace
}  // namespace penstock
