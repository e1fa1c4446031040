// Where each tensor will lie is settled before the first is written, so that they may come in any order.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/json.h"

namespace penstock {
namespace {

constexpr size_t kHeaderAlignment = 8;

Status CannotWrite(const std::string& path) { return Internal("{}: {}", path, std::strerror(errno)); }

uint64_t NumberBytes(const TensorHeader& tensor) {
  uint64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= static_cast<uint64_t>(dim);
  return count == 0 ? 1 : tensor.bytes / count;
}

Status WriteAt(int fd, const std::string& path, std::span<const std::byte> data, uint64_t offset) {
  while (!data.empty()) {
    const ssize_t written = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return CannotWrite(path);
    data = data.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return OkStatus();
}

// A full disk may show only here.
Status SyncAndClose(int fd, const std::string& path) {
  const bool synced =
      fsync(fd) == 0 || errno == EINVAL || errno == EROFS;  // EINVAL: nothing that can be synced
  const Status status = synced ? OkStatus() : CannotWrite(path);
  if (close(fd) != 0 && status.ok()) return CannotWrite(path);
  return status;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(std::string dir, std::string stem, std::vector<TensorHeader> tensors,
                                     uint64_t max_file_bytes)
    : dir_(std::move(dir)), stem_(std::move(stem)), tensors_(std::move(tensors)), places_(tensors_.size()) {
  CHECK(!tensors_.empty());
  uint64_t file_bytes = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (files_.empty() || (file_bytes > 0 && file_bytes + tensors_[i].bytes > max_file_bytes)) {
      files_.emplace_back();
      file_bytes = 0;
    }
    files_.back().tensors.push_back(i);
    file_bytes += tensors_[i].bytes;
    CHECK(unwritten_.emplace(tensors_[i].name, i).second) << tensors_[i].name;
  }
  for (size_t i = 0; i < files_.size(); ++i) {
    files_[i].name = files_.size() == 1
                         ? stem_ + ".safetensors"
                         : fmt::format("{}-{:05}-of-{:05}.safetensors", stem_, i + 1, files_.size());
    LayOut(i);
  }
}

SafetensorsWriter::~SafetensorsWriter() {
  for (const File& file : files_) {
    if (file.fd >= 0) close(file.fd);
  }
}

void SafetensorsWriter::LayOut(size_t file_idx) {
  File& file = files_[file_idx];
  std::ranges::stable_sort(file.tensors, std::ranges::greater(),
                           [&](size_t i) { return NumberBytes(tensors_[i]); });
  Json json = {{"__metadata__", {{"format", "pt"}}}};
  uint64_t begin = 0;
  for (const size_t i : file.tensors) {
    const TensorHeader& tensor = tensors_[i];
    json[tensor.name] = {{"dtype", tensor.dtype_name},
                         {"shape", tensor.shape},
                         {"data_offsets", {begin, begin + tensor.bytes}}};
    places_[i] = {file_idx, begin};
    begin += tensor.bytes;
  }
  std::string text = json.dump();
  while (text.size() % kHeaderAlignment != 0) text += ' ';
  const uint64_t size = text.size();
  file.header = std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + text;
  for (const size_t i : file.tensors) places_[i].offset += file.header.size();
}

Status SafetensorsWriter::Open(File& file) {
  const std::string path = Path(file.name);
  file.fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file.fd < 0) return CannotWrite(path);
  return WriteAt(file.fd, path, std::as_bytes(std::span(file.header)), 0);
}

Status SafetensorsWriter::Write(const std::string& name, std::span<const std::byte> data) {
  const auto found = unwritten_.find(name);
  CHECK(found != unwritten_.end()) << name;
  const size_t i = found->second;
  CHECK_EQ(data.size(), tensors_[i].bytes) << name;
  unwritten_.erase(found);
  File& file = files_[places_[i].file_idx];
  if (file.num_written++ == 0) RETURN_IF_ERROR(Open(file));
  RETURN_IF_ERROR(WriteAt(file.fd, Path(file.name), data, places_[i].offset));
  if (file.num_written < file.tensors.size()) return OkStatus();
  return SyncAndClose(std::exchange(file.fd, -1), Path(file.name));
}

Status SafetensorsWriter::Finish() {
  CHECK(unwritten_.empty()) << unwritten_.begin()->first;
  if (files_.size() == 1) return OkStatus();
  Json index = {{"metadata", Json::object()}, {"weight_map", Json::object()}};
  uint64_t total = 0;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    index["weight_map"][tensors_[i].name] = files_[places_[i].file_idx].name;
    total += tensors_[i].bytes;
  }
  index["metadata"]["total_size"] = total;
  return WriteWholeFile(Path(stem_ + ".safetensors.index.json"), index.dump(2) + "\n");
}

Status WriteWholeFile(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return CannotWrite(path);
  const Status status = WriteAt(fd, path, std::as_bytes(std::span(text)), 0);
  const Status closed = SyncAndClose(fd, path);
  return status.ok() ? closed : status;
}

}  // namespace penstock
