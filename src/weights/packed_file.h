// Packed files: the weights of one rank as its device holds them, for a next start that maps them instead of
// packing them anew.
//
//   | header, 64 bytes | … data, each run at a multiple of 4096 … | index: JSON |
//
//   header   magic, version, place and size and checksum of the index, size of the file; its own checksum
//   index    {"key": …, "records": [{"name": …, "numbers": [ … ], "runs": [[offset, bytes], … ]}, … ]}
//
// The key says what the file was made of and for; a file with another key is refused. The header is written
// last, after the rest has reached the disk, and the file gets its name after that: what has the name is
// whole. The data has no checksum: reading it all would cost more than packing is saved.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/json.h"
#include "base/status.h"
#include "tensor/packed_image.h"
#include "weights/mapped_file.h"

namespace penstock {

// FNV-1a, 64 bits: for accidents, not for adversaries.
uint64_t Checksum(std::string_view bytes);

class PackedFile {
 public:
  // kNotFound if there is none; kInvalidArgument if it is not one of ours, damaged, or of another key.
  static Result<PackedFile> Open(const std::string& path, std::string_view key);

  // What was added under that name, in the mapped memory of this object; null if there is nothing.
  const PackedImage* Find(const std::string& name) const;

  const MappedFile& mapping() const { return mapping_; }

 private:
  explicit PackedFile(MappedFile mapping) : mapping_(std::move(mapping)) {}
  Status ReadIndex(std::string_view index, std::string_view key);

  MappedFile mapping_;
  std::unordered_map<std::string, PackedImage> images_;
};

// Writes `path`.part and names it `path` at the end. Errors are kept: after the first, Add() does nothing and
// Finish() returns it: kUnavailable where somebody else is writing the same file, kInternal naming what the
// system refused. What is not finished is removed; what a killed process left is overwritten by the next one.
class PackedFileWriter {
 public:
  PackedFileWriter(std::string path, std::string key);
  ~PackedFileWriter();
  PackedFileWriter(const PackedFileWriter&) = delete;
  PackedFileWriter& operator=(const PackedFileWriter&) = delete;

  // Names are different. An image without memory cannot be kept: an error.
  void Add(const std::string& name, const PackedImage& image);
  Status Finish();

 private:
  void Write(const void* data, size_t size);
  void PadTo(uint64_t multiple);
  void Fail(std::string_view what);
  void Abandon();
  bool IsOnlyWriter() const;

  const std::string path_;
  const std::string temp_path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  Json index_;
  Status status_;
};

}  // namespace penstock
