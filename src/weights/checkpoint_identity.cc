// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint_identity.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "base/json.h"
#include "weights/ascend_description.h"
#include "weights/packed_file.h"

namespace penstock {
namespace {

constexpr uint64_t kMaxHeaderBytes = uint64_t{256} << 20;

bool IsWeights(const std::filesystem::path& path) { return path.extension() == ".safetensors"; }

// What says how the weights are to be read.
bool IsDescription(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name == "config.json" || name == kAscendDescriptionFile || name.ends_with(".index.json");
}

// The table at the begin of a safetensors file; empty if there is none.
std::string HeaderText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t size = 0;
  if (!file.read(reinterpret_cast<char*>(&size), sizeof(size)) || size > kMaxHeaderBytes) return "";
  std::string text(size, '\0');
  file.read(text.data(), static_cast<std::streamsize>(size));
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// Bytes from a few places of a file.
std::string SampleOf(const std::string& path, uint64_t size) {
  constexpr uint64_t kSamples = 16, kSampleBytes = 4096;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  for (uint64_t i = 0; i < kSamples && size > 0; ++i) {
    std::string sample(std::min(size, kSampleBytes), '\0');
    file.seekg(static_cast<std::streamoff>((size - sample.size()) * i / (kSamples - 1)));
    if (!file.read(sample.data(), static_cast<std::streamsize>(sample.size()))) break;
    text += sample;
  }
  return text;
}

enum class By { kTimes, kSamples };

Result<std::string> Identify(const std::string& dir, By by) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (IsWeights(entry.path()) || IsDescription(entry.path())) paths.push_back(entry.path());
  }
  if (paths.empty()) return NotFound("{}: no files of a checkpoint", dir);
  std::ranges::sort(paths);
  std::string facts;
  for (const std::filesystem::path& path : paths) {
    facts += path.filename().string();
    if (IsDescription(path)) {
      ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path.string()));
      facts += fmt::format(" {:016x}\n", Checksum(text));
      continue;
    }
    struct stat info = {};
    if (stat(path.c_str(), &info) != 0) {
      return Internal("{}: cannot be read: {}", path.string(), std::strerror(errno));
    }
    facts += by == By::kTimes
                 ? fmt::format(" {} {}.{:09} {:016x}\n", info.st_size, info.st_mtim.tv_sec,
                               info.st_mtim.tv_nsec, Checksum(HeaderText(path.string())))
                 : fmt::format(" {} {:016x} {:016x}\n", info.st_size, Checksum(HeaderText(path.string())),
                               Checksum(SampleOf(path.string(), static_cast<uint64_t>(info.st_size))));
  }
  return fmt::format("{:016x}", Checksum(facts));
}

}  // namespace

Result<std::string> CheckpointIdentity(const std::string& dir) { return Identify(dir, By::kTimes); }

Result<std::string> CheckpointFingerprint(const std::string& dir) { return Identify(dir, By::kSamples); }

}  // namespace penstock
