// Random numbers that are the same on every platform, as those of <random>'s distributions are not.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

namespace penstock {

// splitmix64: the state is a counter, so that a number can be had for any key without those before it.
class RandomDraw {
 public:
  explicit RandomDraw(uint64_t seed, uint64_t a = 0, uint64_t b = 0) : state_(Mix(Mix(Mix(seed) + a) + b)) {}

  // (0, 1)
  double Uniform() {
    state_ += 0x9e3779b97f4a7c15;
    return (static_cast<double>(Mix(state_) >> 12) + 0.5) * 0x1p-52;
  }
  // Mean 0, standard deviation 1 (Box and Muller).
  double Normal() {
    const double radius = std::sqrt(-2 * std::log(Uniform()));
    return radius * std::cos(2 * std::numbers::pi * Uniform());
  }
  // Mean 1.
  double Exponential() { return -std::log(Uniform()); }

 private:
  static uint64_t Mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
  }

  uint64_t state_;
};

}  // namespace penstock
