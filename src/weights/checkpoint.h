// Checkpoint: the safetensors of a model directory, one file or many, as one table of tensors.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "weights/safetensors.h"

namespace penstock {

// A tensor and the file that holds it.
struct TensorRef {
  const SafetensorsFile* file = nullptr;
  const TensorInfo* info = nullptr;

  std::span<const std::byte> bytes() const { return file->Bytes(*info); }
};

class Checkpoint {
 public:
  // Maps DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names; where there is
  // neither, those of the only other index (DIR/quant_model_weight_w8a8.safetensors.index.json), else every
  // DIR/*.safetensors. Every file is checked. kNotFound if there are none (saying so if there are weights of
  // another format), kInvalidArgument naming the file and the tensor for what is wrong in them.
  static Result<Checkpoint> Open(const std::string& dir);

  // kNotFound naming the tensor if there is none.
  Result<TensorRef> Find(const std::string& name) const;

  // Of all tensors, sorted.
  std::vector<std::string> Names() const;

 private:
  static Result<Checkpoint> OpenShards(const std::string& dir, const std::string& index_path);
  static Result<Checkpoint> OpenFiles(const std::string& dir,
                                      const std::vector<std::filesystem::path>& paths);
  Status AddAll(const std::string& path);

  std::string dir_;
  std::vector<SafetensorsFile> files_;
  struct Place {
    size_t file_idx;
    const TensorInfo* info;
  };
  std::unordered_map<std::string, Place> places_;
};

}  // namespace penstock
