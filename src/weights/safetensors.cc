// Reads the header as a stream of JSON events, one tensor at a time, then checks the table as a whole.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <algorithm>
#include <limits>
#include <unordered_set>
#include <utility>

#include "base/byte_reader.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "weights/json_events.h"

namespace penstock {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct FileDType {
  std::string_view name;
  uint64_t bytes;
  std::optional<DType> dtype;
};
constexpr FileDType kFileDTypes[] = {
    {"F32", 4, DType::kF32},
    {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBF16},
    {"F8_E4M3", 1, DType::kF8E4M3},
    {"I8", 1, DType::kI8},
    {"I32", 4, DType::kI32},
    {"I64", 8, DType::kI64},
    {"F64", 8, {}},
    {"U64", 8, {}},
    {"U32", 4, {}},
    {"I16", 2, {}},
    {"U16", 2, {}},
    {"U8", 1, {}},
    {"BOOL", 1, {}},
    {"F8_E5M2", 1, {}},
};

const FileDType* FindFileDType(std::string_view name) {
  const auto* found = std::ranges::find(kFileDTypes, name, &FileDType::name);
  return found == std::end(kFileDTypes) ? nullptr : found;
}

bool IsPrintableAscii(std::string_view text) {
  return std::ranges::all_of(text, [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
}

// What a header may hold, by depth: 1 the table, 2 a tensor (or __metadata__), 3 its shape or offsets.
class HeaderEvents : public JsonEvents {
 public:
  std::vector<TensorInfo> TakeTensors() { return std::move(tensors_); }

  Status Open(bool is_object) override {
    ++depth_;
    if (depth_ == 1) return is_object ? OkStatus() : InvalidArgument("the header is not a JSON object");
    if (in_metadata_) {
      return depth_ == 2 && is_object ? OkStatus() : InvalidArgument("__metadata__: not strings");
    }
    if (depth_ == 2) return is_object ? OkStatus() : InvalidArgument("tensor {}: not an object", name_);
    if (depth_ == 3 && !is_object && (field_ == "shape" || field_ == "data_offsets")) return OkStatus();
    return InvalidArgument("tensor {}: field {} has the wrong type", name_, field_);
  }

  Status Close() override {
    --depth_;
    if (depth_ != 1) return OkStatus();
    if (std::exchange(in_metadata_, false)) return OkStatus();
    return EndTensor();
  }

  Status Key(const std::string& key) override {
    if (in_metadata_) return OkStatus();
    if (depth_ == 1) return BeginEntry(key);
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return InvalidArgument("tensor {}: unknown field", name_);
    }
    field_ = key;
    if (!fields_.insert(key).second) return InvalidArgument("tensor {}: field {} twice", name_, key);
    return OkStatus();
  }

  Status Scalar(const JsonScalar& value) override {
    if (depth_ == 0) return InvalidArgument("the header is not a JSON object");
    if (in_metadata_ && depth_ == 2) return OkStatus();
    if (depth_ == 2 && field_ == "dtype" && value.text != nullptr && IsPrintableAscii(*value.text)) {
      tensor_.dtype_name = *value.text;
      return OkStatus();
    }
    if (depth_ == 3 && value.number && *value.number <= std::numeric_limits<int64_t>::max()) {
      (field_ == "shape" ? tensor_.shape : offsets_).push_back(static_cast<int64_t>(*value.number));
      return OkStatus();
    }
    return InvalidArgument("tensor {}: field {} has the wrong type or range", name_, field_);
  }

 private:
  Status BeginEntry(const std::string& key) {
    if (key.empty() || !IsPrintableAscii(key)) {
      return InvalidArgument("a tensor's name is empty or not ASCII");
    }
    if (!names_.insert(key).second) return InvalidArgument("tensor {}: listed twice", key);
    in_metadata_ = key == "__metadata__";
    name_ = key;
    field_.clear();
    fields_.clear();
    offsets_.clear();
    tensor_ = {};
    return OkStatus();
  }

  Status EndTensor() {
    if (fields_.size() != 3) {
      return InvalidArgument("tensor {}: dtype, shape or data_offsets is missing", name_);
    }
    if (offsets_.size() != 2) return InvalidArgument("tensor {}: data_offsets are not two numbers", name_);
    tensor_.name = name_;
    tensor_.begin = static_cast<uint64_t>(offsets_[0]);
    tensor_.end = static_cast<uint64_t>(offsets_[1]);
    tensors_.push_back(std::move(tensor_));
    return OkStatus();
  }

  int depth_ = 0;
  bool in_metadata_ = false;
  std::string name_;
  std::string field_;
  std::unordered_set<std::string> fields_;
  std::unordered_set<std::string> names_;
  std::vector<int64_t> offsets_;
  TensorInfo tensor_;
  std::vector<TensorInfo> tensors_;
};

Status CheckSize(TensorInfo& tensor, uint64_t data_bytes) {
  if (tensor.begin > tensor.end || tensor.end > data_bytes) {
    return InvalidArgument("tensor {}: bytes [{},{}) of data that has {}", tensor.name, tensor.begin,
                           tensor.end, data_bytes);
  }
  const FileDType* type = FindFileDType(tensor.dtype_name);
  if (type == nullptr) return OkStatus();  // its size is not known here
  tensor.dtype = type->dtype;
  std::optional<uint64_t> bytes = type->bytes;
  for (const int64_t dim : tensor.shape) {
    if (bytes) bytes = CheckedMul(*bytes, static_cast<uint64_t>(dim));
  }
  if (bytes != tensor.end - tensor.begin) {
    return InvalidArgument("tensor {}: {} {} does not take {} bytes", tensor.name, tensor.dtype_name,
                           ShapeText(tensor.shape), tensor.end - tensor.begin);
  }
  return OkStatus();
}

// The tensors, sorted by place, follow one another from 0 to the end of the data.
Status CheckCover(std::span<const TensorInfo> tensors, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const TensorInfo& tensor : tensors) {
    if (tensor.begin < end) return InvalidArgument("tensor {}: overlaps the one before it", tensor.name);
    if (tensor.begin > end) {
      return InvalidArgument("tensor {}: {} bytes before it belong to no tensor", tensor.name,
                             tensor.begin - end);
    }
    end = tensor.end;
  }
  if (end != data_bytes) return InvalidArgument("{} bytes of data, expected {}", data_bytes, end);
  return OkStatus();
}

// What a file that is not safetensors looks like from its first bytes.
std::string_view GuessFormat(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), std::min<size_t>(bytes.size(), 8));
  if (text.starts_with("GGUF")) return "a GGUF file";
  if (text.starts_with("PK\x03\x04")) return "a zip archive (a PyTorch pickle)";
  if (text.starts_with("\x80\x02") || text.starts_with("\x80\x04")) return "a Python pickle";
  if (text.starts_with("version")) return "a Git LFS pointer: the file itself was not downloaded";
  return {};
}

struct Parsed {
  size_t data_offset;
  std::vector<TensorInfo> tensors;
};

Result<Parsed> ParseFile(std::span<const std::byte> bytes) {
  if (const std::string_view format = GuessFormat(bytes); !format.empty()) {
    return InvalidArgument("not a safetensors file but {}", format);
  }
  ByteReader reader(bytes);
  ASSIGN_OR_RETURN(const uint64_t header_bytes, reader.Read<uint64_t>());
  if (header_bytes > kMaxHeaderBytes) {
    return InvalidArgument("not a safetensors file: header of {} bytes, at most {} are allowed", header_bytes,
                           kMaxHeaderBytes);
  }
  ASSIGN_OR_RETURN(const auto header, reader.ReadBytes(header_bytes));
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  if (!text.starts_with('{')) {
    return InvalidArgument("not a safetensors file: the header does not begin with '{{'");
  }
  ASSIGN_OR_RETURN(std::vector<TensorInfo> tensors, ParseSafetensorsHeader(text, reader.remaining()));
  return Parsed{reader.pos(), std::move(tensors)};
}

}  // namespace

std::string ShapeText(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ",")); }

Result<std::vector<TensorInfo>> ParseSafetensorsHeader(std::string_view header, uint64_t data_bytes) {
  HeaderEvents events;
  if (const Status status = ParseJsonEvents(header, events); !status.ok()) {
    return status.WithContext("header");
  }
  std::vector<TensorInfo> tensors = events.TakeTensors();
  for (TensorInfo& tensor : tensors) RETURN_IF_ERROR(CheckSize(tensor, data_bytes));
  std::ranges::sort(tensors, {},
                    [](const TensorInfo& tensor) { return std::pair(tensor.begin, tensor.end); });
  RETURN_IF_ERROR(CheckCover(tensors, data_bytes));
  return tensors;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  Result<Parsed> parsed = ParseFile(mapping.bytes());
  if (!parsed.ok()) return parsed.status().WithContext(path);
  return SafetensorsFile(path, std::move(mapping), parsed->data_offset, std::move(parsed->tensors));
}

SafetensorsFile::SafetensorsFile(std::string path, MappedFile mapping, size_t data_offset,
                                 std::vector<TensorInfo> tensors)
    : path_(std::move(path)),
      mapping_(std::move(mapping)),
      data_offset_(data_offset),
      tensors_(std::move(tensors)) {
  for (size_t i = 0; i < tensors_.size(); ++i) by_name_.emplace(tensors_[i].name, i);
}

const TensorInfo* SafetensorsFile::Find(const std::string& name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::span<const std::byte> SafetensorsFile::Bytes(const TensorInfo& tensor) const {
  CHECK_LE(tensor.end, mapping_.bytes().size() - data_offset_);
  return mapping_.bytes().subspan(data_offset_ + tensor.begin, tensor.end - tensor.begin);
}

}  // namespace penstock
