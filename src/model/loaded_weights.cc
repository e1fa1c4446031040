// SPDX-License-Identifier: Apache-2.0
#include "model/loaded_weights.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "model/cached_weights.h"
#include "model/stored_weights.h"
#include "weights/int8_matrix.h"

namespace penstock {
namespace {

// The embedding is held as it is stored, but never wider than the activations that it becomes.
RowTable CopyRows(const ConstMat& from, DType activation_dtype, Kernels& kernels) {
  const bool narrow = from.dtype == DType::kF32 && activation_dtype == DType::kBF16;
  RowTable table;
  const DType dtype = narrow ? DType::kBF16 : from.dtype;
  table.memory = Buffer(static_cast<size_t>(from.rows * from.cols) * DTypeBytes(dtype));
  const Mat to(table.memory.data(), dtype, from.rows, from.cols);
  kernels.ParallelFor(from.rows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (narrow) {
        std::transform(from.Row<float>(r), from.Row<float>(r) + from.cols, to.Row<Bf16>(r), ToBf16);
      } else {
        std::memcpy(to.RowPtr(r), from.RowPtr(r), static_cast<size_t>(from.cols) * DTypeBytes(dtype));
      }
    }
  });
  table.rows = to;
  return table;
}

Int8Part Int8PartOf(const Int8Matrix& matrix) {
  const ConstMat& weight = matrix.weight.view();
  return {.weight = weight.Row<int8_t>(0),
          .n = weight.rows,
          .k = weight.cols,
          .weight_scale = matrix.weight_scale.data(),
          .input_scale = matrix.input_scale,
          .input_offset = matrix.input_offset,
          .deq_scale = matrix.deq_scale.data(),
          .quant_bias = matrix.quant_bias.data()};
}

ConstMat Cut(const ConstMat& whole, const TensorPart& part) {
  return whole.Rows(part.row, part.rows).Cols(part.col, part.cols);
}

// What is multiplied as one matrix has one input.
Status CheckSameInput(const std::string& one_name, const Int8Part& one, const std::string& other_name,
                      const Int8Part& other) {
  if (one.input_scale == other.input_scale && one.input_offset == other.input_offset) return OkStatus();
  return InvalidArgument(
      "shards of a fused layer have the same input: tensor {}: input_scale {}, input_offset {}, expected {} "
      "and "
      "{}, those of {}",
      other_name, other.input_scale, other.input_offset, one.input_scale, one.input_offset, one_name);
}

}  // namespace

LoadedWeights::LoadedWeights(const TensorTable& table, const ModelConfig& config, DType dtype,
                             const TensorReader& reader, Kernels& kernels, const LoadProgress& progress,
                             size_t total_bytes, PackedFileWriter* keep, MatrixListener on_matrix,
                             const RankShare& share)
    : WeightSource(table, config, dtype, share),
      reader_(reader),
      kernels_(kernels),
      progress_(progress),
      on_matrix_(std::move(on_matrix)),
      total_bytes_(total_bytes),
      keep_(keep) {}

Result<StoredMat> LoadedWeights::Read(const std::string& name) {
  const TensorSpec& spec = Spec(name);
  CHECK_EQ(spec.shape.size(), 2u) << spec.name;
  return reader_.ReadMatrix(spec.name, spec.shape[0], spec.shape[1], dtype_);
}

void LoadedWeights::Report(Names names) {
  for (const std::string& name : names) {
    const auto bytes = StoredPartBytes(reader_, Spec(name), share_);
    if (bytes.ok()) done_bytes_ += *bytes;
  }
  if (progress_) progress_(done_bytes_, total_bytes_);
}

void LoadedWeights::Keep(const std::string& packed_name, const PackedImage& image) {
  if (keep_ != nullptr) keep_->Add(packed_name, image);
}

std::unique_ptr<PackedMat> LoadedWeights::Matrix(Names names) {
  const WeightType type = TypeOf(std::span(names.begin(), names.size()));
  if (!status_.ok()) return nullptr;
  std::unique_ptr<PackedMat> packed =
      type == WeightType::kFloat ? FloatMatrix(names) : Int8Matrices(names, type);
  if (packed == nullptr) return nullptr;
  held_bytes_ += packed->bytes();
  Keep(PackedName(prefix_, names), packed->Image());
  Report(names);
  if (on_matrix_) {
    std::vector<std::string> full_names;
    for (const std::string& name : names) full_names.push_back(Spec(name).name);
    on_matrix_(full_names, *packed);
  }
  return packed;
}

std::unique_ptr<PackedMat> LoadedWeights::FloatMatrix(Names names) {
  std::vector<StoredMat> stored;  // their pages of the files are let go at the end
  std::vector<ConstMat> parts;
  for (const std::string& name : names) {
    Result<StoredMat> mat = Read(name);
    if (!mat.ok()) {
      Fail(mat.status());
      return nullptr;
    }
    stored.push_back(std::move(mat).value());
    parts.push_back(Cut(stored.back().view(), PartOfName(name)));
  }
  return kernels_.Pack(parts, dtype_);
}

std::unique_ptr<PackedMat> LoadedWeights::Int8Matrices(Names names, WeightType type) {
  std::vector<Int8Matrix> stored;
  std::vector<Int8Part> parts;
  for (const std::string& name : names) {
    const TensorSpec& spec = Spec(name);
    const int64_t rows = spec.shape[0], cols = spec.shape[1];
    if (cols > kMaxInt8K) {
      Fail(Unimplemented("tensor {}: 8-bit rows of {} numbers, expected at most {}", spec.name, cols,
                         kMaxInt8K));
      return nullptr;
    }
    Result<Int8Matrix> mat = config_.quantise_weights ? QuantiseMatrix(reader_, spec.name, rows, cols)
                                                      : ReadInt8Matrix(reader_, spec.name, type, rows, cols);
    if (!mat.ok()) {
      Fail(mat.status());
      return nullptr;
    }
    stored.push_back(std::move(mat).value());
    const TensorPart own = PartOfName(name);
    CutInt8(own.row, own.rows, own.col, own.cols, share_.tp_rank == 0, stored.back());
    parts.push_back(Int8PartOf(stored.back()));
    Fail(CheckSameInput(Spec(*names.begin()).name, parts.front(), spec.name, parts.back()));
  }
  if (!status_.ok()) return nullptr;
  std::unique_ptr<PackedMat> packed = kernels_.PackInt8(parts);
  if (packed == nullptr) {
    Fail(Unimplemented("tensor {}: 8-bit weights, which the kernels \"{}\" cannot multiply",
                       Spec(*names.begin()).name, kernels_.name()));
  }
  return packed;
}

std::vector<float> LoadedWeights::Vector(Names names) {
  std::vector<float> values;
  for (const std::string& name : names) {
    if (!status_.ok()) return {};
    const TensorSpec& spec = Spec(name);
    CHECK_EQ(spec.shape.size(), 1u) << spec.name;
    const Result<std::vector<float>> part = reader_.ReadVector(spec.name, spec.shape[0]);
    if (!part.ok()) {
      status_ = part.status();
      return {};
    }
    const TensorPart own = PartOfName(name);
    values.insert(values.end(), part->begin() + own.row, part->begin() + own.row + own.rows);
  }
  held_bytes_ += values.size() * sizeof(float);
  Keep(PackedName(prefix_, names), VectorImage(values));
  Report(names);
  return values;
}

// In float, whatever it is stored as: absorbed into q and the output it is no linear layer.
Result<StoredMat> LoadedWeights::ReadKvB(const std::string& name) {
  const TensorSpec& spec = Spec(name);
  ASSIGN_OR_RETURN(const WeightType type, TypeOfWeight(config_, spec));
  if (type == WeightType::kFloat) return Read(name);
  if (type == WeightType::kW8A8) {
    return Unimplemented("tensor {}: type W8A8, expected FLOAT or W8A8_DYNAMIC", spec.name);
  }
  return DequantiseInt8(reader_, spec.name, spec.shape[0], spec.shape[1], dtype_);
}

std::unique_ptr<PackedKvB> LoadedWeights::KvB(const std::string& name, const MlaShape& shape) {
  if (!status_.ok()) return nullptr;
  const Result<StoredMat> mat = ReadKvB(name);
  if (!mat.ok()) {
    Fail(mat.status());
    return nullptr;
  }
  std::unique_ptr<PackedKvB> packed = kernels_.PackKvB(Cut(mat->view(), PartOfName(name)), shape, dtype_);
  held_bytes_ += packed->bytes();
  Keep(PackedName(prefix_, {name}), packed->Image());
  Report({name});
  return packed;
}

RowTable LoadedWeights::Table(const std::string& name) {
  if (!status_.ok()) return {};
  const Result<StoredMat> mat = Read(name);
  if (!mat.ok()) {
    status_ = mat.status();
    return {};
  }
  RowTable table = CopyRows(Cut(mat->view(), PartOfName(name)), dtype_, kernels_);
  held_bytes_ += table.memory.size();
  Keep(PackedTableName(name), TableImage(table));
  Report({name});
  return table;
}

}  // namespace penstock
