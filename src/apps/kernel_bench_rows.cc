// What only moves rows through the processor: norms, residual, rotary embedding, activation.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <vector>

#include "apps/kernel_bench.h"

namespace penstock {
namespace {

// Matrices of one shape, one after the other in memory.
struct Copies {
  Copies(size_t count, int64_t rows, int64_t cols)
      : count(count),
        rows(rows),
        cols(cols),
        data(RandomBf16Buffer(static_cast<int64_t>(count) * rows * cols)) {}
  Mat operator[](size_t i) const {
    return Mat(data.as<Bf16>() + static_cast<int64_t>(i % count) * rows * cols, DType::kBF16, rows, cols);
  }
  size_t count;
  int64_t rows, cols;
  Buffer data;
};

}  // namespace

void KernelBench::RunRows() {
  const int64_t rows = options_.quick ? 16 : 2048;
  constexpr int64_t kHidden = 1024, kInter = 3072;
  constexpr int32_t kHeads = 16, kHeadDim = 128;
  const auto bytes = [&](int64_t columns_moved) {
    return static_cast<double>(rows * columns_moved) * sizeof(Bf16);
  };
  const auto make = [&](std::string op, int64_t columns, int64_t columns_moved) {
    return Case{.op = std::move(op),
                .shape = fmt::format("{}x{}", rows, columns),
                .dtype = "bf16",
                .operations = 0,
                .bytes = bytes(columns_moved)};
  };
  const auto copies = [&](int64_t columns) {
    return Copies(NumCopies(static_cast<size_t>(bytes(columns))), rows, columns);
  };
  const std::vector<float> weight(kHidden, 1.0f);

  if (const Case one = make("rms_norm", kHidden, 2 * kHidden); Wanted(one)) {
    const Copies x = copies(kHidden), y = copies(kHidden);
    Measure(one, [&](size_t i) { kernels_.RmsNorm(x[i], weight.data(), 1e-6f, y[i]); });
  }
  if (const Case one = make("add_rms_norm", kHidden, 4 * kHidden); Wanted(one)) {
    const Copies residual = copies(kHidden), x = copies(kHidden), y = copies(kHidden);
    Measure(one, [&](size_t i) { kernels_.AddRmsNorm(residual[i], x[i], weight.data(), 1e-6f, y[i]); });
  }
  if (const Case one = make("head_rms_norm", kHeads * kHeadDim, 2 * kHeads * kHeadDim); Wanted(one)) {
    const Copies x = copies(kHeads * kHeadDim);
    Measure(one, [&](size_t i) { kernels_.HeadRmsNorm(x[i], kHeads, kHeadDim, weight.data(), 1e-6f); });
  }
  if (const Case one = make("rope", kHeads * kHeadDim, 2 * kHeads * kHeadDim); Wanted(one)) {
    const auto size = static_cast<size_t>(rows * kHeadDim / 2);
    const RopeTable table{.dim = kHeadDim,
                          .max_positions = static_cast<int32_t>(rows),
                          .cos = std::vector<float>(size, 0.8f),
                          .sin = std::vector<float>(size, 0.6f)};
    std::vector<int32_t> positions;
    for (int64_t i = 0; i < rows; ++i) positions.push_back(static_cast<int32_t>(i));
    const Copies x = copies(kHeads * kHeadDim);
    Measure(one,
            [&](size_t i) { kernels_.Rope(x[i], kHeads, kHeadDim, positions, table, RopeStyle::kHalf); });
  }
  if (const Case one = make("silu_mul", kInter, 3 * kInter); Wanted(one)) {
    const Copies gate_up = copies(2 * kInter), y = copies(kInter);
    Measure(one, [&](size_t i) { kernels_.SiluMul(gate_up[i], y[i]); });
  }
}

}  // namespace penstock
