// MappedFile: a file mapped read-only, whole.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/status.h"

namespace penstock {

class MappedFile {
 public:
  // kNotFound if there is no such file, kInvalidArgument if it is empty or not a regular file.
  static Result<MappedFile> Open(const std::string& path);

  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }

  // Hints for a range inside bytes(): its pages will be read soon; they will not be read again and need not
  // count as this process's memory (a later read brings them back).
  void WillNeed(std::span<const std::byte> range) const;
  void Drop(std::span<const std::byte> range) const;

  // Reads a range into memory and into this process's page tables, with huge pages where the file system has
  // them: what comes after is not slowed by page faults.
  void Populate(std::span<const std::byte> range) const;

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  void Unmap();

  std::span<const std::byte> bytes_;
};

}  // namespace penstock
