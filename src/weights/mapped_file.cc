// SPDX-License-Identifier: Apache-2.0
#include "weights/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

namespace penstock {
namespace {

// madvise over the pages that `range` touches, the partly covered ones at both ends included.
void Advise(std::span<const std::byte> range, int advice) {
  if (range.empty()) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(range.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(range.data()) + range.size();
  madvise(reinterpret_cast<void*>(begin), end - begin,
          advice);  // a hint: a refusal costs speed or memory only
}

Result<MappedFile> Refuse(int fd, Status status) {
  close(fd);
  return status;
}

}  // namespace

Result<MappedFile> MappedFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NotFound("{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat info = {};
  if (fstat(fd, &info) != 0) return Refuse(fd, Internal("{}: fstat: {}", path, std::strerror(errno)));
  if (!S_ISREG(info.st_mode)) return Refuse(fd, InvalidArgument("{}: not a regular file", path));
  if (info.st_size <= 0) return Refuse(fd, InvalidArgument("{}: the file is empty", path));

  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    return Refuse(fd, Internal("{}: mmap of {} bytes: {}", path, size, std::strerror(errno)));
  }
  close(fd);  // the mapping stays
  return MappedFile(std::span(static_cast<const std::byte*>(data), size));
}

MappedFile::~MappedFile() { Unmap(); }

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  if (this != &other) {
    Unmap();
    bytes_ = std::exchange(other.bytes_, {});
  }
  return *this;
}

void MappedFile::Unmap() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  bytes_ = {};
}

void MappedFile::WillNeed(std::span<const std::byte> range) const { Advise(range, MADV_WILLNEED); }

void MappedFile::Drop(std::span<const std::byte> range) const { Advise(range, MADV_DONTNEED); }

void MappedFile::Populate(std::span<const std::byte> range) const {
  Advise(range, MADV_HUGEPAGE);  // first: it counts when the file is read
#ifdef MADV_POPULATE_READ
  Advise(range, MADV_POPULATE_READ);
#endif
}

}  // namespace penstock
