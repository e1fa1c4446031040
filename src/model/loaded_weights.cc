// SPDX-License-Identifier: Apache-2.0
#include "model/loaded_weights.h"

#include <algorithm>
#include <cstring>

namespace penstock {
namespace {

// The embedding is held as it is stored, but never wider than the activations that it becomes.
RowTable CopyRows(const ConstMat& from, DType activation_dtype) {
  const bool narrow = from.dtype == DType::kF32 && activation_dtype == DType::kBF16;
  RowTable table;
  const DType dtype = narrow ? DType::kBF16 : from.dtype;
  table.memory = Buffer(static_cast<size_t>(from.rows * from.cols) * DTypeBytes(dtype));
  const Mat to(table.memory.data(), dtype, from.rows, from.cols);
  for (int64_t r = 0; r < from.rows; ++r) {
    if (narrow) {
      std::transform(from.Row<float>(r), from.Row<float>(r) + from.cols, to.Row<Bf16>(r), ToBf16);
    } else {
      std::memcpy(to.RowPtr(r), from.RowPtr(r), static_cast<size_t>(from.cols) * DTypeBytes(dtype));
    }
  }
  table.rows = to;
  return table;
}

}  // namespace

LoadedWeights::LoadedWeights(const TensorTable& table, DType dtype, const TensorReader& reader,
                             Kernels& kernels, const LoadProgress& progress, size_t total_bytes)
    : WeightSource(table, dtype),
      reader_(reader),
      kernels_(kernels),
      progress_(progress),
      total_bytes_(total_bytes) {}

Result<StoredMat> LoadedWeights::Read(const std::string& name) {
  const TensorSpec& spec = Spec(name);
  CHECK_EQ(spec.shape.size(), 2u) << spec.name;
  return reader_.ReadMatrix(spec.name, spec.shape[0], spec.shape[1], dtype_);
}

void LoadedWeights::Report(Names names) {
  for (const std::string& name : names) {
    const auto bytes = reader_.StoredBytes(Spec(name).name);
    if (bytes.ok()) done_bytes_ += *bytes;
  }
  if (progress_) progress_(done_bytes_, total_bytes_);
}

std::unique_ptr<PackedMat> LoadedWeights::Matrix(Names names) {
  std::vector<StoredMat> stored;  // their pages of the files are let go at the end
  std::vector<ConstMat> parts;
  for (const std::string& name : names) {
    if (!status_.ok()) return nullptr;
    Result<StoredMat> mat = Read(name);
    if (!mat.ok()) {
      status_ = mat.status();
      return nullptr;
    }
    stored.push_back(std::move(mat).value());
    parts.push_back(stored.back().view());
  }
  std::unique_ptr<PackedMat> packed = kernels_.Pack(parts, dtype_);
  held_bytes_ += packed->bytes();
  Report(names);
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
    values.insert(values.end(), part->begin(), part->end());
  }
  held_bytes_ += values.size() * sizeof(float);
  Report(names);
  return values;
}

std::unique_ptr<PackedKvB> LoadedWeights::KvB(const std::string& name, const MlaShape& shape) {
  if (!status_.ok()) return nullptr;
  const Result<StoredMat> mat = Read(name);
  if (!mat.ok()) {
    status_ = mat.status();
    return nullptr;
  }
  std::unique_ptr<PackedKvB> packed = kernels_.PackKvB(mat->view(), shape, dtype_);
  held_bytes_ += packed->bytes();
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
  RowTable table = CopyRows(mat->view(), dtype_);
  held_bytes_ += table.memory.size();
  Report({name});
  return table;
}

}  // namespace penstock
