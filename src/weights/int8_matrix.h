// Int8Matrix: one W8A8 weight matrix of a checkpoint, with all that says how it is multiplied. The
// mathematics is that of Int8Part (kernels/kernels.h).
//
//   beside X.weight, int8 [n, k], stand
//   dynamic   X.weight_scale [n, 1] float, X.weight_offset (zeros; may be absent)
//   static    X.input_scale, X.input_offset [1] float; X.deq_scale [n], fp32 or int64 with the pattern of
//   one;
//             X.quant_bias [n] int32; X.weight_scale, X.weight_offset (may be absent)
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "weights/tensor_reader.h"
#include "weights/weight_types.h"

namespace penstock {

struct Int8Matrix {
  StoredMat weight;                 // int8 [n, k]
  std::vector<float> weight_scale;  // [n]; dynamic
  float input_scale = 0;            // static; 0: dynamic
  int32_t input_offset = 0;         // static, -128 … 127
  std::vector<float> deq_scale;     // [n]; static
  std::vector<int32_t> quant_bias;  // [n]; static
};

// Reads and checks. `name` is that of the weight; `type` is not kFloat. Errors name the tensor that is
// missing or wrong, what it is and what was expected.
Result<Int8Matrix> ReadInt8Matrix(const TensorReader& reader, const std::string& name, WeightType type,
                                  int64_t rows, int64_t cols);

// Leaves rows [row, row + rows) and columns [col, col + cols) of it. Where columns go, the products of all
// parts are added up: `adds_bias` says which part keeps the static form's quant_bias, the others' is 0.
void CutInt8(int64_t row, int64_t rows, int64_t col, int64_t cols, bool adds_bias, Int8Matrix& matrix);

// What a matrix is multiplied with before it is quantised: each row, each column; empty: with nothing.
struct MatrixFactors {
  std::span<const float> rows;  // [n]
  std::span<const float> cols;  // [k]
};

// A matrix of floats (or block FP8) quantised now, for dynamic activations: symmetric, one scale per row.
// `relative_error`, where not null, becomes the rms of what rounding did over the rms of the weights
// (of a reader on one thread only).
Result<Int8Matrix> QuantiseMatrix(const TensorReader& reader, const std::string& name, int64_t rows,
                                  int64_t cols, double* relative_error = nullptr,
                                  const MatrixFactors& factors = {});

// How a static input is quantised: [min, max], widened to hold 0 (which must stay exact), on all of -128 …
// 127. A range of nothing but 0 has scale 1.
struct InputQuantisation {
  float scale = 0;
  int32_t offset = 0;
};
InputQuantisation QuantiseRange(float min, float max);

// Makes a matrix of QuantiseMatrix() one for a static input; weight_scale stays. `bias`, that of the linear
// layer ([n], or empty), goes into quant_bias. kUnimplemented, naming `name`, if it does not fit there.
Status MakeStatic(const std::string& name, InputQuantisation input, std::span<const float> bias,
                  Int8Matrix& matrix);

// The float values of an int8 matrix of a dynamic type, as `dtype` (f32 or bf16): for what is not multiplied
// as int8 (kv_b of latent attention).
Result<StoredMat> DequantiseInt8(const TensorReader& reader, const std::string& name, int64_t rows,
                                 int64_t cols, DType dtype);

}  // namespace penstock
