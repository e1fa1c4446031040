// How much memory this process may take now: of the machine, and of the control group that it runs in.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/status.h"

namespace penstock {

struct HostMemory {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // can be taken without swapping: the page cache counts as free
  bool is_cgroup = false;   // the control group is the tighter bound
};

// Reads /proc/meminfo, /proc/self/cgroup and the memory controller (version 2 or 1) under `root`, which only
// tests change. kInternal if /proc/meminfo cannot be read.
Result<HostMemory> ReadHostMemory(const std::string& root = "");

}  // namespace penstock
