// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/cpu_quantizer.h"

#include <functional>

#include "base/checked_math.h"
#include "base/thread_team.h"

namespace penstock {
namespace {

constexpr int64_t kRowsPerThread = 8;  // less is not worth waking a thread

}  // namespace

QuantizedRows CpuQuantizer::Run(ConstMat x, const Int8Input& input) {
  Reserve(x.rows, x.cols);
  const auto fill = [&](int64_t begin, int64_t end) { Fill(x.Rows(begin, end - begin), input, begin); };
  team_.ParallelFor(x.rows, kRowsPerThread, std::ref(fill));
  return Rows(0, x.rows, input);
}

void CpuQuantizer::Reserve(int64_t num_rows, int64_t k) {
  k_ = k;
  stride_ = RoundUp<int64_t>(k, 64);
  const size_t q_bytes = static_cast<size_t>(num_rows * stride_);
  const size_t scale_bytes = static_cast<size_t>(num_rows) * sizeof(float);
  if (q_.size() < q_bytes) q_ = Buffer(q_bytes);
  if (scale_.size() < scale_bytes) scale_ = Buffer(scale_bytes);
}

void CpuQuantizer::Fill(ConstMat x, const Int8Input& input, int64_t row) {
  ops_.quantize_rows({.x = {x.data, x.stride},
                      .dtype = x.dtype,
                      .num_rows = x.rows,
                      .num_cols = x.cols,
                      .input_scale = input.scale,
                      .input_offset = input.offset,
                      .q = q_.as<uint8_t>() + row * stride_,
                      .q_stride = stride_,
                      .scale = scale_.as<float>() + row});
}

QuantizedRows CpuQuantizer::Rows(int64_t begin, int64_t count, const Int8Input& input) const {
  return {ConstMat(q_.as<uint8_t>() + begin * stride_, DType::kI8, count, k_, stride_),
          input.scale > 0 ? nullptr : scale_.as<float>() + begin};
}

}  // namespace penstock
