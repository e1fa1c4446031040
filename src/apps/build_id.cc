// SPDX-License-Identifier: Apache-2.0
#include "apps/build_id.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "base/status.h"
#include "weights/packed_file.h"

#include "apps/flag_help.h"

namespace penstock {

std::string BuildId() {
  struct stat info = {};
  if (stat("/proc/self/exe", &info) != 0) return std::string(kPenstockVersion);
  return fmt::format("{} {} {}.{:09}", kPenstockVersion, info.st_size, info.st_mtim.tv_sec,
                     info.st_mtim.tv_nsec);
}

std::string ProgramFingerprint() {
  const Result<std::string> bytes = ReadTextFile("/proc/self/exe");
  return fmt::format("{} {:016x}", kPenstockVersion, bytes.ok() ? Checksum(*bytes) : 0);
}

}  // namespace penstock
