// The products of a 0.6B Qwen3: decode (few rows) and prefill (many).
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>
#include <vector>

#include "apps/kernel_bench.h"

namespace penstock {

void KernelBench::LinearShape(std::string_view name, int64_t n, int64_t k, bool int8) {
  std::vector<std::unique_ptr<PackedMat>> copies;
  const auto pack = [&] {
    const Buffer source = RandomBf16Buffer(n * k);
    const std::vector<float> scale(static_cast<size_t>(n), 1e-3f);
    const ConstMat floats(source.data(), DType::kBF16, n, k);
    const Int8Part part{.weight = source.as<int8_t>(), .n = n, .k = k, .weight_scale = scale.data()};
    do {
      copies.push_back(int8 ? kernels_.PackInt8(std::span(&part, 1))
                            : kernels_.Pack(std::span(&floats, 1), DType::kBF16));
    } while (copies.back() != nullptr && copies.size() < NumCopies(copies[0]->bytes()));
  };
  const bool is_head = name == "head";
  for (const int64_t m : {1, 8, 64, 512, 2048}) {
    if ((options_.quick && m > 8) || (is_head && m > 64)) break;
    const double weights = static_cast<double>(n * k) * (int8 ? 1 : 2);
    const double rows = static_cast<double>(m * (n + k)) * sizeof(Bf16);
    const Case one{.op = fmt::format("linear {}", name),
                   .shape = fmt::format("{}x{}x{}", m, n, k),
                   .dtype = int8 ? "int8" : "bf16",
                   .operations = 2.0 * static_cast<double>(m * n * k),
                   .bytes = weights + rows};
    if (!Wanted(one)) continue;
    if (copies.empty()) pack();
    if (copies[0] == nullptr) return;  // these kernels have no int8
    const Buffer x = RandomBf16Buffer(m * k), y = RandomBf16Buffer(m * n);
    Measure(one, [&](size_t i) {
      kernels_.Linear(ConstMat(x.data(), DType::kBF16, m, k), *copies[i % copies.size()],
                      Mat(y.data(), DType::kBF16, m, n));
    });
  }
}

void KernelBench::RunLinear() {
  for (const bool int8 : {false, true}) {
    if (options_.quick) {
      LinearShape("small", 130, 70, int8);
      continue;
    }
    LinearShape("qkv", 4096, 1024, int8);
    LinearShape("o", 1024, 2048, int8);
    LinearShape("gate_up", 6144, 1024, int8);
    LinearShape("down", 1024, 3072, int8);
    LinearShape("head", 32768, 1024, int8);
  }
}

}  // namespace penstock
