// SPDX-License-Identifier: Apache-2.0
#include "model/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"

namespace penstock {
namespace {

// theta^(2i / dim), [dim / 2].
std::vector<float> Wavelengths(const RopeConfig& rope, int32_t dim) {
  std::vector<float> powers(dim / 2);
  for (int32_t i = 0; i < dim / 2; ++i) {
    powers[i] = std::pow(static_cast<float>(rope.theta), static_cast<float>(2 * i) / static_cast<float>(dim));
  }
  return powers;
}

// Short wavelengths stay, long ones are stretched by `factor`, those between are blended.
void ScaleLlama3(const RopeConfig& rope, std::vector<float>& frequencies) {
  const auto context = static_cast<float>(rope.original_max_position_embeddings);
  const auto factor = static_cast<float>(rope.factor);
  const auto low = static_cast<float>(rope.low_freq_factor);
  const auto high = static_cast<float>(rope.high_freq_factor);
  for (float& frequency : frequencies) {
    const float wavelength = 2.0f * std::numbers::pi_v<float> / frequency;
    if (wavelength > context / low) {
      frequency /= factor;
    } else if (wavelength >= context / high) {
      const float smooth = (context / wavelength - low) / (high - low);
      frequency = (1.0f - smooth) * frequency / factor + smooth * frequency;
    }
  }
}

// The pair, as a fraction, that turns `rotations` times over the original context.
double YarnCorrectionDim(const RopeConfig& rope, int32_t dim, double rotations) {
  return dim * std::log(rope.original_max_position_embeddings / (rotations * 2.0 * std::numbers::pi)) /
         (2.0 * std::log(rope.theta));
}

// Pairs below `low` keep their frequency, those above `high` are stretched by `factor`, a ramp between.
std::vector<float> YarnFrequencies(const RopeConfig& rope, int32_t dim) {
  double low = YarnCorrectionDim(rope, dim, rope.beta_fast);
  double high = YarnCorrectionDim(rope, dim, rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;

  std::vector<float> frequencies = Wavelengths(rope, dim);
  for (int32_t i = 0; i < dim / 2; ++i) {
    const float extrapolated = 1.0f / frequencies[i];
    const float interpolated = 1.0f / (static_cast<float>(rope.factor) * frequencies[i]);
    const float ramp = std::clamp(
        (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f, 1.0f);
    frequencies[i] = interpolated * ramp + extrapolated * (1.0f - ramp);
  }
  return frequencies;
}

}  // namespace

int32_t RotatedDim(const ModelConfig& config) {
  return config.kv_lora_rank > 0 ? config.rope_dim : config.head_dim;
}

double YarnMscale(double scale, double mscale) {
  return scale <= 1.0 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

float RopeAttentionFactor(const RopeConfig& rope) {
  if (rope.type != RopeConfig::Type::kYarn) return 1.0f;
  if (rope.attention_factor != 0.0) return static_cast<float>(rope.attention_factor);
  if (rope.mscale == 0.0 || rope.mscale_all_dim == 0.0) {
    return static_cast<float>(YarnMscale(rope.factor, 1.0));
  }
  return static_cast<float>(YarnMscale(rope.factor, rope.mscale) /
                            YarnMscale(rope.factor, rope.mscale_all_dim));
}

std::vector<float> InverseFrequencies(const RopeConfig& rope, int32_t dim) {
  CHECK_EQ(dim % 2, 0);
  if (rope.type == RopeConfig::Type::kYarn) return YarnFrequencies(rope, dim);
  std::vector<float> frequencies = Wavelengths(rope, dim);
  for (float& value : frequencies) value = 1.0f / value;
  if (rope.type == RopeConfig::Type::kLinear) {
    for (float& value : frequencies) value /= static_cast<float>(rope.factor);
  }
  if (rope.type == RopeConfig::Type::kLlama3) ScaleLlama3(rope, frequencies);
  return frequencies;
}

RopeTable MakeRopeTable(const RopeConfig& rope, int32_t dim, int32_t max_positions) {
  const std::vector<float> frequencies = InverseFrequencies(rope, dim);
  const float factor = RopeAttentionFactor(rope);
  const size_t half = frequencies.size();
  RopeTable table{.dim = dim, .max_positions = max_positions, .cos = {}, .sin = {}};
  table.cos.resize(half * static_cast<size_t>(max_positions));
  table.sin.resize(table.cos.size());
  for (int32_t pos = 0; pos < max_positions; ++pos) {
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(pos) * frequencies[i];
      table.cos[static_cast<size_t>(pos) * half + i] = std::cos(angle) * factor;
      table.sin[static_cast<size_t>(pos) * half + i] = std::sin(angle) * factor;
    }
  }
  return table;
}

size_t RopeTableBytes(int32_t dim, int32_t max_positions) {
  return static_cast<size_t>(dim) * static_cast<size_t>(max_positions) * sizeof(float);
}

}  // namespace penstock
