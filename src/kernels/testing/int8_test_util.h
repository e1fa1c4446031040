// Random 8-bit weights with what belongs to them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "kernels/kernels.h"

namespace penstock {

// One Int8Part that owns its memory. Weights are uniform over all of int8; outputs are of about the size of
// the input.
struct Int8Weights {
  Int8Weights(int64_t n, int64_t k, uint32_t seed, float input_scale = 0.0f, int32_t input_offset = 0)
      : n(n), k(k), input_scale(input_scale), input_offset(input_offset), weight(n * k) {
    std::mt19937 generator(seed);
    for (int8_t& w : weight) w = static_cast<int8_t>(generator() >> 24);
    std::uniform_real_distribution<float> some(0.5f, 1.5f);
    const float unit = 1.0f / (74.0f * std::sqrt(static_cast<float>(k)));
    for (int64_t i = 0; i < n; ++i) {
      weight_scale.push_back(some(generator) * unit);
      deq_scale.push_back(weight_scale.back() * input_scale);
      const float bias = some(generator);
      quant_bias.push_back(input_scale > 0 ? QuantBias(bias, i) : 0);
    }
  }

  // As the format has it: the bias in units of the sums, with the input's offset taken out.
  int32_t QuantBias(float bias, int64_t row) const {
    const auto bias_units = std::nearbyint(static_cast<double>(bias) / deq_scale[row]);
    return static_cast<int32_t>(bias_units) - input_offset * RowSum(row);
  }
  int32_t RowSum(int64_t row) const {
    int32_t sum = 0;
    for (int64_t i = 0; i < k; ++i) sum += weight[row * k + i];
    return sum;
  }
  // The weights as the numbers that they stand for, [n, k].
  std::vector<float> Floats() const {
    std::vector<float> floats(weight.size());
    for (size_t i = 0; i < floats.size(); ++i)
      floats[i] = static_cast<float>(weight[i]) * weight_scale[i / static_cast<size_t>(k)];
    return floats;
  }

  Int8Part part() const {
    return {.weight = weight.data(),
            .n = n,
            .k = k,
            .weight_scale = weight_scale.data(),
            .input_scale = input_scale,
            .input_offset = input_offset,
            .deq_scale = deq_scale.data(),
            .quant_bias = quant_bias.data()};
  }
  std::unique_ptr<PackedMat> Pack(Kernels& kernels) const {
    const Int8Part only = part();
    return kernels.PackInt8(std::span(&only, 1));
  }

  int64_t n, k;
  float input_scale;
  int32_t input_offset;
  std::vector<int8_t> weight;
  std::vector<float> weight_scale, deq_scale;
  std::vector<int32_t> quant_bias;
};

}  // namespace penstock
