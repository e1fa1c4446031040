// For tests: the ranks of a group as threads.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>
#include <vector>

#include "comm/inproc/inproc_group.h"

namespace penstock::testing {

// Runs body(comm) for each rank of a group, each on a thread of its own.
inline void RunRanks(int size, const std::function<void(Communicator&)>& body) {
  const auto group = MakeInprocGroup(size);
  std::vector<std::thread> threads;
  for (const auto& comm : group) threads.emplace_back([&body, &comm] { body(*comm); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace penstock::testing
