// SPDX-License-Identifier: Apache-2.0
#include "model/cached_weights.h"

#include <cstring>

namespace penstock {

std::string PackedName(const std::string& prefix, WeightSource::Names names) {
  std::string joined = prefix;
  for (const std::string& name : names) joined += (joined.size() > prefix.size() ? "," : "") + name;
  return joined;
}

std::string PackedTableName(const std::string& name) { return name + " (rows)"; }

PackedImage VectorImage(const std::vector<float>& values) {
  return {.numbers = {}, .memory = {std::as_bytes(std::span(values))}};
}

PackedImage TableImage(const RowTable& table) {
  const ConstMat& rows = table.rows;
  const auto* data = static_cast<const std::byte*>(rows.data);
  const size_t bytes = static_cast<size_t>(rows.rows * rows.cols) * DTypeBytes(rows.dtype);
  return {.numbers = {rows.rows, rows.cols, static_cast<int64_t>(rows.dtype)}, .memory = {{data, bytes}}};
}

CachedWeights::CachedWeights(const TensorTable& table, const ModelConfig& config, DType dtype,
                             const TensorReader& reader, const PackedFile& file, Kernels& kernels,
                             const RankShare& share)
    : WeightSource(table, config, dtype, share), reader_(reader), file_(file), kernels_(kernels) {}

const PackedImage* CachedWeights::Find(const std::string& packed_name) {
  if (!status_.ok()) return nullptr;
  const PackedImage* image = file_.Find(packed_name);
  if (image == nullptr) Refuse(packed_name);
  return image;
}

void CachedWeights::Refuse(const std::string& packed_name) {
  status_ = InvalidArgument("{}: missing, or not what was expected", packed_name);
}

std::unique_ptr<PackedMat> CachedWeights::Matrix(Names names) {
  const std::string packed_name = PackedName(prefix_, names);
  const PackedImage* image = Find(packed_name);
  if (image == nullptr) return nullptr;
  int64_t rows = 0;
  for (const std::string& name : names) rows += RowsOf(name);
  std::unique_ptr<PackedMat> attached = kernels_.AttachMat(*image);
  if (attached == nullptr || attached->n() != rows || attached->k() != ColsOf(*names.begin())) {
    Refuse(packed_name);
    return nullptr;
  }
  held_bytes_ += attached->bytes();
  return attached;
}

std::vector<float> CachedWeights::Vector(Names names) {
  const std::string packed_name = PackedName(prefix_, names);
  const PackedImage* image = Find(packed_name);
  if (image == nullptr) return {};
  size_t size = 0;
  for (const std::string& name : names) size += static_cast<size_t>(RowsOf(name));
  if (image->memory.size() != 1 || image->memory[0].size() != size * sizeof(float)) {
    Refuse(packed_name);
    return {};
  }
  std::vector<float> values(size);
  std::memcpy(values.data(), image->memory[0].data(), image->memory[0].size());
  held_bytes_ += image->memory[0].size();
  return values;
}

std::unique_ptr<PackedKvB> CachedWeights::KvB(const std::string& name, const MlaShape& shape) {
  const std::string packed_name = PackedName(prefix_, {name});
  const PackedImage* image = Find(packed_name);
  if (image == nullptr) return nullptr;
  std::unique_ptr<PackedKvB> attached = kernels_.AttachKvB(*image, shape);
  if (attached == nullptr) {
    Refuse(packed_name);
    return nullptr;
  }
  held_bytes_ += attached->bytes();
  return attached;
}

RowTable CachedWeights::Table(const std::string& name) {
  const std::string packed_name = PackedTableName(name);
  const PackedImage* image = Find(packed_name);
  if (image == nullptr) return {};
  const int64_t shape[] = {RowsOf(name), ColsOf(name)};
  const bool has_shape = image->numbers.size() == 3 && image->memory.size() == 1 &&
                         image->numbers[0] == shape[0] && image->numbers[1] == shape[1];
  const auto dtype = has_shape ? static_cast<DType>(image->numbers[2]) : DType::kI64;
  const bool is_float = dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
  if (!is_float || image->memory[0].size() != static_cast<size_t>(shape[0] * shape[1]) * DTypeBytes(dtype)) {
    Refuse(packed_name);
    return {};
  }
  RowTable table;
  table.memory = Buffer::Borrow(image->memory[0]);
  table.rows = ConstMat(table.memory.data(), dtype, shape[0], shape[1]);
  held_bytes_ += table.memory.size();
  return table;
}

}  // namespace penstock
