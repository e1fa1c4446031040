// For tests: makes safetensors files, right ones and wrong ones.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "tensor/bf16.h"

namespace penstock::testing {

// A directory of its own, removed at the end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "penstock_test_XXXXXX").string();
    CHECK(mkdtemp(pattern.data()) != nullptr) << pattern;
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  std::string path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& content) const {
    std::ofstream(File(name), std::ios::binary) << content;
    return File(name);
  }

 private:
  std::string path_;
};

inline std::string BytesOf(const void* data, size_t size) {
  return std::string(static_cast<const char*>(data), size);
}
inline std::string F32Bytes(std::span<const float> values) {
  return BytesOf(values.data(), values.size() * 4);
}
inline std::string Bf16Bytes(std::span<const float> values) {
  std::vector<Bf16> rounded;
  for (const float value : values) rounded.push_back(ToBf16(value));
  return BytesOf(rounded.data(), rounded.size() * 2);
}

// The bytes of a file with this header text and data.
inline std::string SafetensorsText(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return BytesOf(&size, 8) + header + data;
}

// Collects tensors; Text() is the file. With `align`, the header is padded so that data begins at a multiple
// of 8.
class SafetensorsBuilder {
 public:
  SafetensorsBuilder& Add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                          const std::string& bytes) {
    header_[name] = {
        {"dtype", dtype}, {"shape", shape}, {"data_offsets", {data_.size(), data_.size() + bytes.size()}}};
    data_ += bytes;
    return *this;
  }
  SafetensorsBuilder& AddF32(const std::string& name, std::vector<int64_t> shape,
                             std::span<const float> values) {
    return Add(name, "F32", std::move(shape), F32Bytes(values));
  }

  std::string Text(bool align = true) const {
    std::string header = header_.dump();
    while (align ? header.size() % 8 != 0 : header.size() % 2 == 0) header += ' ';
    return SafetensorsText(header, data_);
  }

 private:
  Json header_ = {{"__metadata__", {{"format", "pt"}}}};
  std::string data_;
};

}  // namespace penstock::testing
