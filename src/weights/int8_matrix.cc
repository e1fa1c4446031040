// SPDX-License-Identifier: Apache-2.0
#include "weights/int8_matrix.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "tensor/bf16.h"
#include "weights/quantise_row.h"

namespace penstock {
namespace {

constexpr std::string_view kWeight = "weight";

// "model.layers.0.mlp.up_proj." of "model.layers.0.mlp.up_proj.weight".
std::string Stem(const std::string& name) {
  CHECK(name.ends_with(kWeight)) << name;
  return name.substr(0, name.size() - kWeight.size());
}

Status CheckScales(const std::string& name, std::span<const float> scales) {
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i]) || scales[i] < 0.0f) {
      return InvalidArgument("tensor {}: scale {} is {}, expected a finite number, not negative", name, i,
                             scales[i]);
    }
  }
  return OkStatus();
}

// Weights are symmetric: offsets, where they are stored, are 0.
Status CheckNoOffsets(const TensorReader& reader, const std::string& name, int64_t rows) {
  if (!reader.Has(name)) return OkStatus();
  ASSIGN_OR_RETURN(const std::vector<float> offsets, reader.ReadColumn(name, rows));
  for (size_t i = 0; i < offsets.size(); ++i) {
    if (offsets[i] != 0.0f) {
      return Unimplemented("tensor {}: offset {} is {}, expected 0 (symmetric weights)", name, i, offsets[i]);
    }
  }
  return OkStatus();
}

Result<std::vector<float>> ReadScales(const TensorReader& reader, const std::string& name, int64_t rows) {
  ASSIGN_OR_RETURN(std::vector<float> scales, reader.ReadColumn(name, rows));
  RETURN_IF_ERROR(CheckScales(name, scales));
  return scales;
}

// fp32, or int64 whose lower half is the pattern of an fp32 (checkpoints of fp16 models, for the NPU's sake).
Result<std::vector<float>> ReadDeqScale(const TensorReader& reader, const std::string& name, int64_t rows) {
  if (reader.StoredDType(name) != "I64") return ReadScales(reader, name, rows);
  ASSIGN_OR_RETURN(const std::vector<int64_t> patterns, reader.ReadI64(name, rows));
  std::vector<float> scales(patterns.size());
  for (size_t i = 0; i < patterns.size(); ++i) {
    if (patterns[i] < 0 || patterns[i] > int64_t{0xffffffff}) {
      return InvalidArgument("tensor {}: number {} is {}, expected the 32-bit pattern of a float", name, i,
                             patterns[i]);
    }
    scales[i] = std::bit_cast<float>(static_cast<uint32_t>(patterns[i]));
  }
  RETURN_IF_ERROR(CheckScales(name, scales));
  return scales;
}

Status ReadInput(const TensorReader& reader, const std::string& stem, Int8Matrix& matrix) {
  ASSIGN_OR_RETURN(const std::vector<float> scale, reader.ReadVector(stem + "input_scale", 1));
  if (!std::isfinite(scale[0]) || scale[0] <= 0.0f) {
    return InvalidArgument("tensor {}input_scale is {}, expected a finite number above 0", stem, scale[0]);
  }
  ASSIGN_OR_RETURN(const std::vector<float> offset, reader.ReadVector(stem + "input_offset", 1));
  if (!(offset[0] >= -128.0f && offset[0] <= 127.0f) || std::trunc(offset[0]) != offset[0]) {
    return InvalidArgument("tensor {}input_offset is {}, expected an integer in [-128, 127]", stem,
                           offset[0]);
  }
  matrix.input_scale = scale[0];
  matrix.input_offset = static_cast<int32_t>(offset[0]);
  return OkStatus();
}

// deq_scale = input_scale * weight_scale, where the latter is stored. What is stored in bf16 is off by 2^-9.
Status CheckProduct(const TensorReader& reader, const std::string& stem, const Int8Matrix& matrix) {
  constexpr float kTolerance = 0.01f;
  const std::string name = stem + "weight_scale";
  if (!reader.Has(name)) return OkStatus();
  const auto rows = static_cast<int64_t>(matrix.deq_scale.size());
  ASSIGN_OR_RETURN(const std::vector<float> weight_scale, ReadScales(reader, name, rows));
  for (int64_t i = 0; i < rows; ++i) {
    const float expected = matrix.input_scale * weight_scale[i];
    if (std::fabs(matrix.deq_scale[i] - expected) > kTolerance * expected) {
      return InvalidArgument("tensor {}deq_scale: number {} is {}, expected input_scale * weight_scale = {}",
                             stem, i, matrix.deq_scale[i], expected);
    }
  }
  return OkStatus();
}

Status ReadStatic(const TensorReader& reader, const std::string& stem, int64_t rows, Int8Matrix& matrix) {
  RETURN_IF_ERROR(ReadInput(reader, stem, matrix));
  ASSIGN_OR_RETURN(matrix.deq_scale, ReadDeqScale(reader, stem + "deq_scale", rows));
  ASSIGN_OR_RETURN(matrix.quant_bias, reader.ReadI32(stem + "quant_bias", rows));
  return CheckProduct(reader, stem, matrix);
}

struct SquareSums {
  double errors = 0;
  double values = 0;
};

void AddRow(const float* row, const int8_t* quantised, int64_t cols, float scale, SquareSums& sums) {
  float errors = 0, values = 0;
  for (int64_t c = 0; c < cols; ++c) {
    const float error = static_cast<float>(quantised[c]) * scale - row[c];
    errors += error * error;
    values += row[c] * row[c];
  }
  sums.errors += errors;
  sums.values += values;
}

}  // namespace

Result<Int8Matrix> ReadInt8Matrix(const TensorReader& reader, const std::string& name, WeightType type,
                                  int64_t rows, int64_t cols) {
  CHECK(type != WeightType::kFloat) << name;
  const std::string stem = Stem(name);
  const auto read = [&]() -> Result<Int8Matrix> {
    ASSIGN_OR_RETURN(StoredMat weight, reader.ReadInt8(name, rows, cols));
    Int8Matrix matrix{std::move(weight), {}, 0, 0, {}, {}};
    RETURN_IF_ERROR(CheckNoOffsets(reader, stem + "weight_offset", rows));
    if (IsDynamic(type)) {
      ASSIGN_OR_RETURN(matrix.weight_scale, ReadScales(reader, stem + "weight_scale", rows));
    } else {
      RETURN_IF_ERROR(ReadStatic(reader, stem, rows, matrix));
    }
    return matrix;
  };
  Result<Int8Matrix> matrix = read();
  if (!matrix.ok()) return matrix.status().WithContext(fmt::format("{} is {}", name, WeightTypeName(type)));
  return matrix;
}

Result<Int8Matrix> QuantiseMatrix(const TensorReader& reader, const std::string& name, int64_t rows,
                                  int64_t cols, double* relative_error, const MatrixFactors& factors) {
  CHECK(factors.rows.empty() || static_cast<int64_t>(factors.rows.size()) == rows) << name;
  CHECK(factors.cols.empty() || static_cast<int64_t>(factors.cols.size()) == cols) << name;
  Buffer values(static_cast<size_t>(rows * cols));
  std::vector<float> scales(static_cast<size_t>(rows));
  SquareSums sums;
  RETURN_IF_ERROR(reader.ReadRows(name, rows, cols, [&](int64_t r, const float* row) {
    std::vector<float> scaled;
    if (!factors.rows.empty() || !factors.cols.empty()) {
      scaled.assign(row, row + cols);
      for (int64_t c = 0; c < cols; ++c) {
        if (!factors.rows.empty()) scaled[c] *= factors.rows[r];
        if (!factors.cols.empty()) scaled[c] *= factors.cols[c];
      }
      row = scaled.data();
    }
    const std::optional<float> scale = QuantiseRow(row, cols, values.as<int8_t>() + r * cols);
    if (!scale) return InvalidArgument("tensor {}: a weight in row {} is not finite", name, r);
    scales[r] = *scale;
    if (relative_error != nullptr) AddRow(row, values.as<int8_t>() + r * cols, cols, *scale, sums);
    return OkStatus();
  }));
  if (relative_error != nullptr) *relative_error = sums.values > 0 ? std::sqrt(sums.errors / sums.values) : 0;
  const ConstMat view(values.data(), DType::kI8, rows, cols);
  return Int8Matrix{StoredMat(view, std::move(values), {}), std::move(scales), 0, 0, {}, {}};
}

void CutInt8(int64_t row, int64_t rows, int64_t col, int64_t cols, bool adds_bias, Int8Matrix& matrix) {
  const bool cuts_columns = cols < matrix.weight.view().cols;
  matrix.weight.Cut(row, rows, col, cols);
  const auto cut = [&](auto& values) {
    if (values.empty()) return;
    values.erase(values.begin(), values.begin() + row);
    values.resize(rows);
  };
  cut(matrix.weight_scale);
  cut(matrix.deq_scale);
  cut(matrix.quant_bias);
  if (cuts_columns && !adds_bias) std::ranges::fill(matrix.quant_bias, 0);
}

InputQuantisation QuantiseRange(float min, float max) {
  constexpr float kSteps = 255.0f;
  min = std::min(min, 0.0f);
  max = std::max(max, 0.0f);
  const float scale = max / kSteps - min / kSteps;  // the difference itself may be infinite
  if (!(scale > std::numeric_limits<float>::min())) return {1.0f, 0};
  return {scale, static_cast<int32_t>(std::clamp(std::nearbyint(-128.0f - min / scale), -128.0f, 127.0f))};
}

Status MakeStatic(const std::string& name, InputQuantisation input, std::span<const float> bias,
                  Int8Matrix& matrix) {
  const ConstMat& weight = matrix.weight.view();
  CHECK(bias.empty() || static_cast<int64_t>(bias.size()) == weight.rows) << name;
  matrix.input_scale = input.scale;
  matrix.input_offset = input.offset;
  for (int64_t r = 0; r < weight.rows; ++r) {
    const auto* row = weight.Row<int8_t>(r);
    const int64_t sum = std::accumulate(row, row + weight.cols, int64_t{0});
    const float deq_scale = input.scale * matrix.weight_scale[r];
    const double in_bias = bias.empty() ? 0.0 : static_cast<double>(bias[r]) / deq_scale;
    const double quant_bias = std::nearbyint(in_bias - static_cast<double>(input.offset * sum));
    if (!(std::fabs(quant_bias) <= std::numeric_limits<int32_t>::max())) {
      return Unimplemented("tensor {}: bias {} of row {} is {} in units of deq_scale {}, expected 32 bits",
                           name, bias.empty() ? 0.0f : bias[r], r, quant_bias, deq_scale);
    }
    matrix.deq_scale.push_back(deq_scale);
    matrix.quant_bias.push_back(static_cast<int32_t>(quant_bias));
  }
  return OkStatus();
}

Result<StoredMat> DequantiseInt8(const TensorReader& reader, const std::string& name, int64_t rows,
                                 int64_t cols, DType dtype) {
  CHECK(dtype == DType::kF32 || dtype == DType::kBF16) << DTypeName(dtype);
  ASSIGN_OR_RETURN(const Int8Matrix matrix,
                   ReadInt8Matrix(reader, name, WeightType::kW8A8Dynamic, rows, cols));
  Buffer values(static_cast<size_t>(rows * cols) * DTypeBytes(dtype));
  const Mat out(values.data(), dtype, rows, cols);
  for (int64_t r = 0; r < rows; ++r) {
    const auto* row = matrix.weight.view().Row<int8_t>(r);
    const auto value = [&](int64_t c) { return static_cast<float>(row[c]) * matrix.weight_scale[r]; };
    for (int64_t c = 0; c < cols; ++c) {
      if (dtype == DType::kF32) {
        out.Row<float>(r)[c] = value(c);
      } else {
        out.Row<Bf16>(r)[c] = ToBf16(value(c));
      }
    }
  }
  return StoredMat(out, std::move(values), {});
}

}  // namespace penstock
