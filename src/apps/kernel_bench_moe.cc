// The experts of a small Qwen3-MoE: 32 experts, 4 for each token.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "apps/kernel_bench.h"

namespace penstock {

void KernelBench::MoeLayer(bool int8) {
  const int64_t hidden = options_.quick ? 64 : 1024, inter = options_.quick ? 32 : 512;
  constexpr int32_t kExperts = 32, kTopK = 4;
  ExpertWeights experts;
  const auto pack = [&] {
    const Buffer source = RandomBf16Buffer(2 * inter * hidden);
    const std::vector<float> scale(static_cast<size_t>(std::max(hidden, 2 * inter)), 1e-3f);
    const auto pack_one = [&](int64_t n, int64_t k) {
      const ConstMat floats(source.data(), DType::kBF16, n, k);
      const Int8Part part{.weight = source.as<int8_t>(), .n = n, .k = k, .weight_scale = scale.data()};
      return int8 ? kernels_.PackInt8(std::span(&part, 1))
                  : kernels_.Pack(std::span(&floats, 1), DType::kBF16);
    };
    for (int32_t e = 0; e < kExperts; ++e) {
      experts.gate_up.push_back(pack_one(2 * inter, hidden));
      experts.down.push_back(pack_one(hidden, inter));
    }
  };
  for (const int64_t m : {1, 8, 64, 512, 2048}) {
    if (options_.quick && m > 8) break;
    const double of_one_expert = static_cast<double>(3 * hidden * inter);
    const auto num_used = static_cast<double>(std::min<int64_t>(kExperts, m * kTopK));
    const Case one{.op = "moe",
                   .shape = fmt::format("{}x{}x{} {} of {}", m, hidden, inter, kTopK, kExperts),
                   .dtype = int8 ? "int8" : "bf16",
                   .operations = 2.0 * of_one_expert * static_cast<double>(m * kTopK),
                   .bytes = of_one_expert * num_used * (int8 ? 1 : 2) +
                            static_cast<double>(3 * m * hidden) * sizeof(Bf16)};
    if (!Wanted(one)) continue;
    if (experts.down.empty()) pack();
    if (experts.down[0] == nullptr) return;
    const Buffer x = RandomBf16Buffer(m * hidden), y = RandomBf16Buffer(m * hidden);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < m * kTopK; ++i) ids.push_back(static_cast<int32_t>((i * 5 + i / 32) % kExperts));
    const std::vector<float> weights(ids.size(), 0.25f);
    Measure(one, [&](size_t) {
      kernels_.MoeMlp(ConstMat(x.data(), DType::kBF16, m, hidden), ids.data(), weights.data(), kTopK, experts,
                      Mat(y.data(), DType::kBF16, m, hidden));
    });
  }
}

void KernelBench::RunMoe() {
  for (const bool int8 : {false, true}) MoeLayer(int8);
}

}  // namespace penstock
