// SafetensorsWriter: a checkpoint written tensor by tensor, in files of bounded size with an index.
//
//   STEM.safetensors, or STEM-00001-of-00003.safetensors … and STEM.safetensors.index.json
//
// Within a file, wide numbers come first, as in files of the safetensors library: each tensor then begins at
// a multiple of its numbers' size, which readers that view the file in place rely on.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/status.h"

namespace penstock {

struct TensorHeader {
  std::string name;
  std::string dtype_name;  // "BF16", as safetensors has it
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
};

class SafetensorsWriter {
 public:
  // Files of at most `max_file_bytes` of data, or of one larger tensor. All tensors are known before the
  // first is written; names differ.
  SafetensorsWriter(std::string dir, std::string stem, std::vector<TensorHeader> tensors,
                    uint64_t max_file_bytes);
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The data of a tensor: each once, in any order. Tensors near each other in the constructor's order share a
  // file, and a file is open from its first tensor to its last. kInternal naming the file, and what the
  // system says, if it cannot be written.
  Status Write(const std::string& name, std::span<const std::byte> data);

  // After the last tensor: writes the index.
  Status Finish();

 private:
  struct File {
    std::string name;
    std::vector<size_t> tensors;  // in the order of the data
    std::string header;           // with its length before it
    size_t num_written = 0;
    int fd = -1;
  };
  struct Place {
    size_t file_idx = 0;
    uint64_t offset = 0;  // in the file
  };

  void LayOut(size_t file_idx);
  Status Open(File& file);
  std::string Path(const std::string& name) const { return dir_ + "/" + name; }

  const std::string dir_;
  const std::string stem_;
  const std::vector<TensorHeader> tensors_;
  std::vector<File> files_;
  std::vector<Place> places_;                          // of tensors_
  std::unordered_map<std::string, size_t> unwritten_;  // name -> index of tensors_
};

// A small file, written whole and through to the disk. kInternal naming it.
Status WriteWholeFile(const std::string& path, std::string_view text);

}  // namespace penstock
