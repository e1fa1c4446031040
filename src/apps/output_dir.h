// OutputDir: a directory that is there whole or not at all: it is filled as PATH.partial and renamed at the
// end.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/status.h"

namespace penstock {

class OutputDir {
 public:
  // Makes PATH.partial. kInvalidArgument if PATH or PATH.partial exists, kInternal with the system's words if
  // it cannot be made.
  static Result<OutputDir> Create(const std::string& path);

  // Removes PATH.partial unless it was committed.
  ~OutputDir();
  OutputDir(OutputDir&& other) noexcept;
  OutputDir& operator=(OutputDir&&) = delete;

  const std::string& partial_path() const { return partial_; }

  // Renames it to PATH.
  Status Commit();

 private:
  explicit OutputDir(std::string path) : path_(std::move(path)), partial_(path_ + ".partial") {}

  std::string path_;
  std::string partial_;  // empty: nothing to remove
};

// Copies what belongs to a model beside its weights and config.json: tokenizer, chat template, generation
// config, remote code, licence. kInternal naming the file that cannot be copied.
Status CopyModelFiles(const std::string& from_dir, const std::string& to_dir);

}  // namespace penstock
