// FP8 is the only form that is converted here, one tensor at a time; the rest is handed on as it lies in the
// file.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor_reader.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/checked_math.h"
#include "tensor/bf16.h"

namespace penstock {
namespace {

// What messages call a tensor.
std::string Label(const TensorRef& ref) { return ref.file->path() + ": tensor " + ref.info->name; }

Status NotFloat(const TensorRef& ref) {
  return Unimplemented("{}: dtype {}, expected F32, F16 or BF16", Label(ref), ref.info->dtype_name);
}

// Of what is read row by row, pages are let go in pieces of this size.
constexpr size_t kDropBytes = size_t{1} << 20;

bool IsFloat(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

// Exact for every pattern but the two NaNs: the bits, moved to where fp32 has exponent and mantissa, times
// the difference of the exponents' biases. No branch and no table, so that the compiler can vectorise it.
float FiniteFp8(uint8_t value) {
  const float magnitude = std::bit_cast<float>(static_cast<uint32_t>(value & 0x7f) << 20) * 0x1p120f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | static_cast<uint32_t>(value & 0x80) << 24);
}

void Round(float value, float& to) { to = value; }
void Round(float value, Bf16& to) { to = ToBf16(value); }

// One row: out[c] = in[c] * scales[c / block_cols]. False if there is a NaN among the weights.
template <typename T>
bool DequantiseRow(const uint8_t* in, const float* scales, int64_t cols, int64_t block_cols, T* out) {
  bool has_nan = false;
  for (int64_t begin = 0; begin < cols; begin += block_cols) {
    const float scale = scales[begin / block_cols];
    const int64_t end = std::min(cols, begin + block_cols);
    for (int64_t c = begin; c < end; ++c) {
      has_nan |= (in[c] & 0x7f) == 0x7f;
      Round(FiniteFp8(in[c]) * scale, out[c]);
    }
  }
  return !has_nan;
}

// `count` numbers of a float type, aligned or not, as fp32.
void WidenTo(DType dtype, const std::byte* data, int64_t count, float* out) {
  if (dtype == DType::kF32) {
    if (count > 0) std::memcpy(out, data, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, data + i * 2, 2);
    out[i] = dtype == DType::kF16 ? HalfToFloat(bits) : ToFloat(Bf16{bits});
  }
}

Result<std::vector<float>> ReadFloats(const TensorRef& ref) {
  if (!ref.info->dtype || !IsFloat(*ref.info->dtype)) return NotFloat(ref);
  std::vector<float> values(ref.bytes().size() / DTypeBytes(*ref.info->dtype));
  WidenTo(*ref.info->dtype, ref.bytes().data(), static_cast<int64_t>(values.size()), values.data());
  return values;
}

template <typename T>
Result<std::vector<T>> ReadIntegers(const TensorRef& ref, DType dtype, std::string_view dtype_name) {
  if (ref.info->dtype != dtype) {
    return InvalidArgument("{}: dtype {}, expected {}", Label(ref), ref.info->dtype_name, dtype_name);
  }
  std::vector<T> values(ref.bytes().size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), ref.bytes().data(), ref.bytes().size());
  return values;
}

}  // namespace

StoredMat::~StoredMat() {
  if (ref_.file != nullptr) ref_.file->mapping().Drop(ref_.bytes());
}

void StoredMat::Cut(int64_t row, int64_t rows, int64_t col, int64_t cols) {
  CHECK(0 <= row && rows >= 0 && row + rows <= view_.rows && 0 <= col && col + cols <= view_.cols);
  const ConstMat from = view_.Rows(row, rows).Cols(col, cols);
  view_ = from;
  if (cols == from.stride) return;
  Buffer packed(static_cast<size_t>(rows * cols) * DTypeBytes(from.dtype));
  const Mat to(packed.data(), from.dtype, rows, cols);
  const size_t row_bytes = static_cast<size_t>(cols) * DTypeBytes(from.dtype);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to.RowPtr(r), from.RowPtr(r), row_bytes);
  own_ = std::move(packed);
  view_ = to;
}

StoredMat::StoredMat(StoredMat&& other) noexcept
    : view_(other.view_), own_(std::move(other.own_)), ref_(std::exchange(other.ref_, {})) {}

Result<TensorRef> TensorReader::FindShaped(const std::string& name, std::span<const int64_t> shape) const {
  ASSIGN_OR_RETURN(const TensorRef ref, checkpoint_.Find(name));
  if (!std::ranges::equal(ref.info->shape, shape)) {
    return InvalidArgument("{}: shape {}, expected {}", Label(ref), ShapeText(ref.info->shape),
                           ShapeText(shape));
  }
  return ref;
}

Result<StoredMat> TensorReader::ReadMatrix(const std::string& name, int64_t rows, int64_t cols,
                                           DType fp8_as) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{rows, cols}));
  if (ref.info->dtype == DType::kF8E4M3) return Dequantise(ref, rows, cols, fp8_as);
  if (!ref.info->dtype || !IsFloat(*ref.info->dtype)) return NotFloat(ref);

  const DType dtype = *ref.info->dtype;
  const std::span<const std::byte> bytes = ref.bytes();
  ref.file->mapping().WillNeed(bytes);
  if (reinterpret_cast<uintptr_t>(bytes.data()) % DTypeBytes(dtype) == 0) {
    return StoredMat(ConstMat(bytes.data(), dtype, rows, cols), Buffer(), ref);
  }
  Buffer aligned(bytes.size());  // a file may begin its data anywhere
  if (!bytes.empty()) std::memcpy(aligned.data(), bytes.data(), bytes.size());
  const ConstMat view(aligned.data(), dtype, rows, cols);
  return StoredMat(view, std::move(aligned), ref);
}

Result<StoredMat> TensorReader::ReadInt8(const std::string& name, int64_t rows, int64_t cols) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{rows, cols}));
  if (ref.info->dtype != DType::kI8) {
    return InvalidArgument("{}: dtype {}, expected I8", Label(ref), ref.info->dtype_name);
  }
  ref.file->mapping().WillNeed(ref.bytes());
  return StoredMat(ConstMat(ref.bytes().data(), DType::kI8, rows, cols), Buffer(), ref);
}

Result<StoredMat> TensorReader::ReadFp8Scales(const TensorRef& ref, int64_t rows, int64_t cols) const {
  if (fp8_.rows <= 0 || fp8_.cols <= 0) {
    return Unimplemented("{}: dtype {} without the quantization_config that says its blocks", Label(ref),
                         ref.info->dtype_name);
  }
  const std::string name = ref.info->name + "_scale_inv";
  ASSIGN_OR_RETURN(StoredMat stored, ReadMatrix(name, CeilDiv<int64_t>(rows, fp8_.rows),
                                                CeilDiv<int64_t>(cols, fp8_.cols), DType::kF32));
  const ConstMat& scales = stored.view();
  if (scales.dtype != DType::kF32) {
    return Unimplemented("{}: tensor {}: dtype {}, expected float32", ref.file->path(), name,
                         DTypeName(scales.dtype));
  }
  for (int64_t i = 0; i < scales.rows * scales.cols; ++i) {
    if (const float scale = scales.Row<float>(0)[i]; !std::isfinite(scale)) {
      return InvalidArgument("{}: tensor {}: scale {} is {}", ref.file->path(), name, i, scale);
    }
  }
  return stored;
}

// body over all rows, in pieces; one of its errors.
Status TensorReader::ForRows(int64_t rows, FunctionRef<Status(int64_t begin, int64_t end)> body) const {
  if (!parallel_for_) return body(0, rows);
  std::mutex mutex;
  Status first;  // GUARDED_BY(mutex)
  parallel_for_(rows, [&](int64_t begin, int64_t end) {
    Status status = body(begin, end);
    std::lock_guard lock(mutex);
    if (first.ok()) first = std::move(status);
  });
  return first;
}

Result<StoredMat> TensorReader::Dequantise(const TensorRef& ref, int64_t rows, int64_t cols, DType as) const {
  ASSIGN_OR_RETURN(const StoredMat stored_scales, ReadFp8Scales(ref, rows, cols));
  const ConstMat& scales = stored_scales.view();
  ref.file->mapping().WillNeed(ref.bytes());
  Buffer values(static_cast<size_t>(rows) * cols * DTypeBytes(as));
  const Mat out(values.data(), as, rows, cols);
  const auto* weights = reinterpret_cast<const uint8_t*>(ref.bytes().data());
  RETURN_IF_ERROR(ForRows(rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row_scales = scales.Row<float>(r / fp8_.rows);
      const uint8_t* in = weights + r * cols;
      const bool good = as == DType::kF32 ? DequantiseRow(in, row_scales, cols, fp8_.cols, out.Row<float>(r))
                                          : DequantiseRow(in, row_scales, cols, fp8_.cols, out.Row<Bf16>(r));
      if (!good) return InvalidArgument("{}: a weight in row {} is NaN", Label(ref), r);
    }
    return OkStatus();
  }));
  return StoredMat(out, std::move(values), ref);
}

Status TensorReader::ReadFp8Rows(const TensorRef& ref, int64_t rows, int64_t cols,
                                 const RowFunction& row) const {
  ASSIGN_OR_RETURN(const StoredMat scales, ReadFp8Scales(ref, rows, cols));
  const auto* weights = reinterpret_cast<const uint8_t*>(ref.bytes().data());
  return ForRows(rows, [&](int64_t begin, int64_t end) -> Status {
    std::vector<float> values(static_cast<size_t>(cols));
    for (int64_t r = begin; r < end; ++r) {
      if (!DequantiseRow(weights + r * cols, scales.view().Row<float>(r / fp8_.rows), cols, fp8_.cols,
                         values.data())) {
        return InvalidArgument("{}: a weight in row {} is NaN", Label(ref), r);
      }
      RETURN_IF_ERROR(row(r, values.data()));
    }
    return OkStatus();
  });
}

Status TensorReader::ReadRows(const std::string& name, int64_t rows, int64_t cols,
                              const RowFunction& row) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{rows, cols}));
  const StoredMat dropped_at_the_end(ConstMat(), Buffer(), ref);
  ref.file->mapping().WillNeed(ref.bytes());
  if (ref.info->dtype == DType::kF8E4M3) return ReadFp8Rows(ref, rows, cols, row);
  if (!ref.info->dtype || !IsFloat(*ref.info->dtype)) return NotFloat(ref);
  const size_t row_bytes = static_cast<size_t>(cols) * DTypeBytes(*ref.info->dtype);
  return ForRows(rows, [&](int64_t begin, int64_t end) -> Status {
    std::vector<float> values(static_cast<size_t>(cols));
    size_t num_read = begin * row_bytes, num_dropped = num_read;
    for (int64_t r = begin; r < end; ++r) {
      WidenTo(*ref.info->dtype, ref.bytes().data() + r * row_bytes, cols, values.data());
      RETURN_IF_ERROR(row(r, values.data()));
      num_read += row_bytes;
      if (num_read - num_dropped < kDropBytes) continue;
      ref.file->mapping().Drop(ref.bytes().subspan(num_dropped, num_read - num_dropped));
      num_dropped = num_read;
    }
    return OkStatus();
  });
}

Result<std::vector<float>> TensorReader::ReadVector(const std::string& name, int64_t size) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{size}));
  return ReadFloats(ref);
}

Result<std::vector<float>> TensorReader::ReadColumn(const std::string& name, int64_t size) const {
  ASSIGN_OR_RETURN(const TensorRef found, checkpoint_.Find(name));
  if (found.info->shape.size() == 1) return ReadVector(name, size);
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{size, int64_t{1}}));
  return ReadFloats(ref);
}

Result<std::vector<int32_t>> TensorReader::ReadI32(const std::string& name, int64_t size) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{size}));
  return ReadIntegers<int32_t>(ref, DType::kI32, "I32");
}

Result<std::vector<int64_t>> TensorReader::ReadI64(const std::string& name, int64_t size) const {
  ASSIGN_OR_RETURN(const TensorRef ref, FindShaped(name, std::array{size}));
  return ReadIntegers<int64_t>(ref, DType::kI64, "I64");
}

std::string TensorReader::StoredDType(const std::string& name) const {
  const Result<TensorRef> ref = checkpoint_.Find(name);
  return ref.ok() ? ref->info->dtype_name : "";
}

Result<uint64_t> TensorReader::StoredBytes(const std::string& name) const {
  ASSIGN_OR_RETURN(const TensorRef ref, checkpoint_.Find(name));
  return ref.info->end - ref.info->begin;
}

}  // namespace penstock
