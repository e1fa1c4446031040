// SPDX-License-Identifier: Apache-2.0
#include "weights/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/byte_reader.h"

namespace penstock {
namespace {

constexpr char kMagic[8] = {'P', 'N', 'S', 'T', 'K', 'P', 'C', 'K'};
constexpr uint64_t kVersion = 1;
constexpr uint64_t kRunAlign = 4096;
constexpr size_t kWriteBytes = size_t{64} << 20;  // of one write() at most

struct Header {
  char magic[8];
  uint64_t version;
  uint64_t index_begin;
  uint64_t index_bytes;
  uint64_t index_checksum;
  uint64_t file_bytes;
  uint64_t reserved;
  uint64_t checksum;  // of all before
};
static_assert(sizeof(Header) == 64);

uint64_t ChecksumOf(const Header& header) {
  return Checksum({reinterpret_cast<const char*>(&header), offsetof(Header, checksum)});
}

Status CheckHeader(const Header& header, uint64_t file_bytes) {
  if (std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) return InvalidArgument("not a packed file");
  if (header.checksum != ChecksumOf(header)) return InvalidArgument("the header is damaged");
  if (header.version != kVersion) {
    return InvalidArgument("version {}, expected {}", header.version, kVersion);
  }
  if (header.file_bytes != file_bytes) {
    return InvalidArgument("{} bytes, expected {}", file_bytes, header.file_bytes);
  }
  if (header.index_begin > file_bytes || header.index_bytes > file_bytes - header.index_begin) {
    return InvalidArgument("the index is outside of the file");
  }
  return OkStatus();
}

// [offset, bytes] within the data.
Result<std::span<const std::byte>> ReadRun(const Json& run, std::span<const std::byte> data) {
  if (!run.is_array() || run.size() != 2 || !run[0].is_number_unsigned() || !run[1].is_number_unsigned()) {
    return InvalidArgument("the index: a run is not two sizes");
  }
  const auto begin = run[0].get<uint64_t>(), size = run[1].get<uint64_t>();
  if (begin % kRunAlign != 0 || begin > data.size() || size > data.size() - begin) {
    return InvalidArgument("the index: a run of {} bytes at {}, of {}", size, begin, data.size());
  }
  return data.subspan(begin, size);
}

}  // namespace

uint64_t Checksum(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (const char c : bytes) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}

Result<PackedFile> PackedFile::Open(const std::string& path, std::string_view key) {
  ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
  PackedFile file(std::move(mapping));
  const std::span<const std::byte> bytes = file.mapping_.bytes();
  const Result<Header> header = ByteReader(bytes).Read<Header>();
  if (!header.ok()) return header.status().WithContext(path);
  if (const Status status = CheckHeader(*header, bytes.size()); !status.ok()) return status.WithContext(path);
  const std::string_view index(reinterpret_cast<const char*>(bytes.data()) + header->index_begin,
                               header->index_bytes);
  if (Checksum(index) != header->index_checksum) return InvalidArgument("{}: the index is damaged", path);
  if (const Status status = file.ReadIndex(index, key); !status.ok()) return status.WithContext(path);
  return file;
}

Status PackedFile::ReadIndex(std::string_view index, std::string_view key) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(index, "the index"));
  const Json found_key = json.value("key", Json());
  if (!found_key.is_string() || found_key != std::string(key)) {
    return InvalidArgument("made of {}, expected {}", found_key.dump(), Json(std::string(key)).dump());
  }
  const Json records = json.value("records", Json());
  if (!records.is_array()) return InvalidArgument("the index: no records");
  for (const Json& record : records) {
    const Json name = record.value("name", Json()), numbers = record.value("numbers", Json()),
               runs = record.value("runs", Json());
    if (!name.is_string() || !numbers.is_array() || !runs.is_array()) {
      return InvalidArgument("the index: a record without name, numbers or runs");
    }
    PackedImage image;
    for (const Json& number : numbers) {
      if (!number.is_number_integer()) return InvalidArgument("the index: {}: not a number", name.dump());
      image.numbers.push_back(number.get<int64_t>());
    }
    for (const Json& run : runs) {
      ASSIGN_OR_RETURN(const std::span<const std::byte> memory, ReadRun(run, mapping_.bytes()));
      image.memory.push_back(memory);
    }
    images_.emplace(name.get<std::string>(), std::move(image));
  }
  return OkStatus();
}

const PackedImage* PackedFile::Find(const std::string& name) const {
  const auto found = images_.find(name);
  return found == images_.end() ? nullptr : &found->second;
}

PackedFileWriter::PackedFileWriter(std::string path, std::string key)
    : path_(std::move(path)), temp_path_(path_ + ".part") {
  index_ = {{"key", std::move(key)}, {"records", Json::array()}};
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  fd_ = open(temp_path_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    Fail("cannot be made");
    return;
  }
  if (!IsOnlyWriter()) {
    close(std::exchange(fd_, -1));
    status_ = Unavailable("{}: another process is writing it", temp_path_);
    return;
  }
  if (ftruncate(fd_, 0) != 0) Fail("cannot be truncated");
  const Header nothing = {};  // until all else is there
  Write(&nothing, sizeof(nothing));
}

PackedFileWriter::~PackedFileWriter() { Abandon(); }

// The lock is the file's, not the name's: the writer before may have renamed or removed it since it was
// opened.
bool PackedFileWriter::IsOnlyWriter() const {
  struct stat held = {}, named = {};
  return flock(fd_, LOCK_EX | LOCK_NB) == 0 && fstat(fd_, &held) == 0 &&
         stat(temp_path_.c_str(), &named) == 0 && held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

void PackedFileWriter::Abandon() {
  if (fd_ < 0) return;
  unlink(temp_path_.c_str());
  close(std::exchange(fd_, -1));
}

void PackedFileWriter::Fail(std::string_view what) {
  if (status_.ok()) status_ = Internal("{}: {}: {}", temp_path_, what, std::strerror(errno));
  Abandon();  // a full disk gets its room back at once
}

void PackedFileWriter::Write(const void* data, size_t size) {
  const auto* from = static_cast<const char*>(data);
  while (size > 0 && status_.ok()) {
    const ssize_t written = write(fd_, from, std::min(size, kWriteBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Fail("cannot be written");
    from += written;
    size -= static_cast<size_t>(written);
    size_ += static_cast<uint64_t>(written);
  }
}

void PackedFileWriter::PadTo(uint64_t multiple) {
  static constexpr char kZeros[kRunAlign] = {};
  if (const uint64_t over = size_ % multiple; over > 0) Write(kZeros, multiple - over);
}

void PackedFileWriter::Add(const std::string& name, const PackedImage& image) {
  if (!status_.ok()) return;
  if (image.memory.empty()) {
    status_ = Unimplemented("{}: weights of its kind cannot be kept", name);
    return Abandon();
  }
  Json runs = Json::array();
  for (const std::span<const std::byte> memory : image.memory) {
    PadTo(kRunAlign);
    runs.push_back({size_, memory.size()});
    Write(memory.data(), memory.size());
  }
  index_["records"].push_back({{"name", name}, {"numbers", image.numbers}, {"runs", runs}});
}

Status PackedFileWriter::Finish() {
  const std::string index = index_.dump();
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.index_begin = size_;
  header.index_bytes = index.size();
  header.index_checksum = Checksum(index);
  header.file_bytes = size_ + index.size();
  header.checksum = ChecksumOf(header);
  Write(index.data(), index.size());
  if (status_.ok() && fdatasync(fd_) != 0) Fail("cannot be written to the disk");
  if (status_.ok() && pwrite(fd_, &header, sizeof(header), 0) != sizeof(header)) Fail("cannot be written");
  if (status_.ok() && rename(temp_path_.c_str(), path_.c_str()) != 0) Fail("cannot be renamed");
  if (!status_.ok()) return status_;
  close(std::exchange(fd_, -1));
  return OkStatus();
}

}  // namespace penstock
