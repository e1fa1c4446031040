// A control group bounds all groups below it, and a container may see its own group as "/": so every level
// from the process's group up to the mount is looked at, and the tightest counts.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/host_memory.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>
#include <string_view>

#include "base/json.h"

namespace penstock {
namespace {

std::optional<uint64_t> ReadNumber(const std::string& path) {
  Result<std::string> text = ReadTextFile(path);
  if (!text.ok()) return std::nullopt;
  uint64_t value = 0;
  if (std::from_chars(text->data(), text->data() + text->size(), value).ec != std::errc())
    return std::nullopt;
  return value;  // "max" is no number
}

// The number after `key` at the beginning of a line: "MemAvailable:   123 kB", "inactive_file 123".
std::optional<uint64_t> FindNumber(const std::string& text, std::string_view key) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.size() <= key.size() || line.compare(0, key.size(), key) != 0 || line[key.size()] != ' ')
      continue;
    return std::strtoull(line.c_str() + key.size(), nullptr, 10);
  }
  return std::nullopt;
}

// File names of one version of the controller.
struct Controller {
  std::string mount;
  const char* limit;
  const char* usage;
  const char* reclaimable;  // in memory.stat
};

void ApplyGroup(const Controller& controller, const std::string& group, HostMemory* memory) {
  const std::string dir = controller.mount + group + "/";
  const std::optional<uint64_t> limit = ReadNumber(dir + controller.limit);
  const std::optional<uint64_t> usage = ReadNumber(dir + controller.usage);
  if (!limit || !usage || *limit >= memory->total_bytes) return;
  uint64_t reclaimable = 0;
  if (Result<std::string> stat = ReadTextFile(dir + "memory.stat"); stat.ok()) {
    reclaimable = FindNumber(*stat, controller.reclaimable).value_or(0);
  }
  const uint64_t used = *usage - std::min(*usage, reclaimable);
  const uint64_t free = *limit - std::min(*limit, used);
  memory->total_bytes = *limit;
  if (free < memory->free_bytes) {
    memory->free_bytes = free;
    memory->is_cgroup = true;
  }
}

void ApplyGroupAndParents(const Controller& controller, std::string group, HostMemory* memory) {
  while (!group.empty() && group.back() == '/') group.pop_back();
  while (true) {
    ApplyGroup(controller, group, memory);
    if (group.empty()) return;
    const size_t slash = group.rfind('/');
    group.resize(slash == std::string::npos ? 0 : slash);
  }
}

}  // namespace

Result<HostMemory> ReadHostMemory(const std::string& root) {
  ASSIGN_OR_RETURN(const std::string meminfo, ReadTextFile(root + "/proc/meminfo"));
  const std::optional<uint64_t> total = FindNumber(meminfo, "MemTotal:");
  const std::optional<uint64_t> available = FindNumber(meminfo, "MemAvailable:");
  if (!total || !available) return Internal("/proc/meminfo: no MemTotal or MemAvailable");
  HostMemory memory{*total * 1024, *available * 1024, false};

  const Controller v2{root + "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};
  const Controller v1{root + "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                      "total_inactive_file"};
  Result<std::string> groups = ReadTextFile(root + "/proc/self/cgroup");
  if (!groups.ok()) return memory;
  std::istringstream lines(*groups);
  std::string line;  // "0::/path" (version 2), "4:memory:/path" (version 1)
  while (std::getline(lines, line)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") ApplyGroupAndParents(v2, group, &memory);
    if (controllers.find(",memory,") != std::string::npos) ApplyGroupAndParents(v1, group, &memory);
  }
  return memory;
}

}  // namespace penstock
