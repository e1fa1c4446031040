// SPDX-License-Identifier: Apache-2.0
#include <thread>
#include <vector>

#include "comm/inproc/inproc_group.h"
#include "comm/testing/run_ranks.h"

namespace penstock {

void RunRanks(int size, const std::function<void(Communicator&)>& body) {
  auto group = MakeInprocGroup(size);
  std::vector<std::thread> threads;
  for (auto& comm : group) threads.emplace_back([&body, &comm] { body(*comm); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace penstock
