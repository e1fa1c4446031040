// SPDX-License-Identifier: Apache-2.0
#include "model/packed_cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/checked_math.h"
#include "model/expert_placement.h"
#include "weights/checkpoint_identity.h"

namespace penstock {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 20;
constexpr size_t kPageBytes = size_t{2} << 20;  // huge ones: not cut where threads meet

// The experts that the placement gives this rank, as a number: all that depends on it.
uint64_t HeldExperts(const ExpertPlacement& placement, const LayerRange& range) {
  std::string text;
  for (int32_t layer = range.first_layer; layer < range.last_layer; ++layer) {
    for (int32_t e = 0; e < placement.num_experts(); ++e) {
      text += placement.Holds(layer, e, range.share.ep_rank) ? '1' : '0';
    }
  }
  return Checksum(text);
}

// ", rank 1 of 2".
std::string ShareText(const LayerRange& range) {
  const RankShare& share = range.share;
  std::string text;
  if (share.tp_size > 1) text += fmt::format(", rank {} of {}", share.tp_rank, share.tp_size);
  if (share.ep_size > 1) text += fmt::format(", experts of {} of {}", share.ep_rank, share.ep_size);
  if (share.experts != nullptr) text += fmt::format(", placed {:016x}", HeldExperts(*share.experts, range));
  return text;
}

}  // namespace

Result<PackedCacheEntry> FindPackedCacheEntry(const PackedCache& cache, const std::string& model_dir,
                                              const ModelConfig& config, const LayerRange& range, DType dtype,
                                              const Kernels& kernels) {
  const std::string layout = kernels.PackedLayout();
  if (layout.empty()) return Unimplemented("kernels {} cannot attach packed weights", kernels.name());
  ASSIGN_OR_RETURN(const std::string checkpoint, CheckpointIdentity(model_dir));
  const std::string key = fmt::format(
      "checkpoint {}, {}, layers {}-{}{}{}{}, {}{}, {}", checkpoint, config.architecture, range.first_layer,
      range.last_layer, range.has_embedding ? ", embedding" : "", range.has_head ? ", head" : "",
      ShareText(range), DTypeName(dtype), config.quantise_weights ? ", made w8a8-dynamic" : "", layout);
  const std::string name =
      fmt::format("{}-layers-{}-{}-{:016x}.packed", std::filesystem::path(model_dir).filename().string(),
                  range.first_layer, range.last_layer, Checksum(key));
  return PackedCacheEntry{.path = (std::filesystem::path(cache.dir) / name).string(),
                          .key = fmt::format("{}, build {}", key, cache.build)};
}

Result<PackedFile> OpenPackedCache(const PackedCacheEntry& entry, const LoadProgress& progress,
                                   Kernels& kernels) {
  ASSIGN_OR_RETURN(PackedFile file, PackedFile::Open(entry.path, entry.key));
  const std::span<const std::byte> bytes = file.mapping().bytes();
  for (size_t done = 0; done < bytes.size();) {
    const size_t piece = std::min(kPieceBytes, bytes.size() - done);  // for `progress`
    const auto pages = static_cast<int64_t>(CeilDiv(piece, kPageBytes));
    kernels.ParallelFor(pages, [&](int64_t begin, int64_t end) {
      const size_t from = begin * kPageBytes, to = std::min(piece, end * kPageBytes);
      file.mapping().Populate(bytes.subspan(done + from, to - from));
    });
    done += piece;
    if (progress) progress(done, bytes.size());
  }
  return file;
}

}  // namespace penstock
