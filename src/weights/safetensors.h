// Safetensors files: a table of named tensors (name, dtype, shape, byte range) and their data, mapped.
//
//   | u64 header length, little-endian | header: JSON, padded with spaces | data ...
//
// The whole table is checked before any of the data is touched: sizes fit shapes, the tensors cover the data
// exactly, without overlaps and holes. The format: https://github.com/huggingface/safetensors
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "tensor/dtype.h"
#include "weights/mapped_file.h"

namespace penstock {

// One row of the table. begin and end are offsets into the data part.
struct TensorInfo {
  std::string name;
  std::string dtype_name;  // as the file says it: "BF16", "F8_E4M3", …
  std::optional<DType>
      dtype;  // nothing: a type that is not read here; an error only for who wants the tensor
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// "[1024,2048]"
std::string ShapeText(std::span<const int64_t> shape);

// The table of a header, in the order of the data. kInvalidArgument, naming the tensor, for what breaks a
// rule.
Result<std::vector<TensorInfo>> ParseSafetensorsHeader(std::string_view header, uint64_t data_bytes);

class SafetensorsFile {
 public:
  // Maps and checks. kNotFound, or kInvalidArgument naming file and tensor.
  static Result<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::span<const TensorInfo> tensors() const { return tensors_; }
  const TensorInfo* Find(const std::string& name) const;  // null if there is none
  std::span<const std::byte> Bytes(const TensorInfo& tensor) const;
  const MappedFile& mapping() const { return mapping_; }

 private:
  SafetensorsFile(std::string path, MappedFile mapping, size_t data_offset, std::vector<TensorInfo> tensors);

  std::string path_;
  MappedFile mapping_;
  size_t data_offset_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
};

}  // namespace penstock
