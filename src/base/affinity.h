// Which cores this process may use, and pinning threads to them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

namespace penstock {

// The ids of the cores that this process may run on (its affinity mask), ascending, cut to the cgroup's CPU
// quota where there is one. Never empty.
std::vector<int> UsableCores();

// Pins the calling thread to `cores`. False, and nothing changed, if the kernel refuses.
bool PinThisThread(std::span<const int> cores);

// Names the calling thread (15 characters are kept) for top, gdb and traces.
void NameThisThread(const std::string& name);

}  // namespace penstock
