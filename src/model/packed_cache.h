// The cache of packed weights on disk (weights/packed_file.h): where a rank's file is, and what it must be.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/status.h"
#include "kernels/kernels.h"
#include "model/model.h"
#include "weights/packed_file.h"

namespace penstock {

struct PackedCacheEntry {
  std::string path;
  std::string key;  // all that the packed weights depend on; the file's name leaves out only the build
};

// The file of these layers. kUnimplemented if the kernels cannot attach packed weights, else what
// CheckpointIdentity() says.
Result<PackedCacheEntry> FindPackedCacheEntry(const PackedCache& cache, const std::string& model_dir,
                                              const ModelConfig& config, const LayerRange& range, DType dtype,
                                              const Kernels& kernels);

// Maps the file, and brings it into memory on the rank's threads. Errors as PackedFile::Open().
Result<PackedFile> OpenPackedCache(const PackedCacheEntry& entry, const LoadProgress& progress,
                                   Kernels& kernels);

}  // namespace penstock
