// The main() of comm_mpi_test: every rank runs every test.
//
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdio>
#include <numeric>
#include <string_view>
#include <vector>

#include "comm/mpi/test_world.h"
#include "comm/testing/run_ranks.h"

namespace penstock {
namespace {

std::unique_ptr<MpiWorld>& World() {
  static std::unique_ptr<MpiWorld> world;
  return world;
}

int Run(char** environment) {
  const auto lookup = [environment](std::string_view name) -> const char* {
    for (char** entry = environment; *entry != nullptr; ++entry) {
      const std::string_view text(*entry);
      if (text.starts_with(name) && text.substr(name.size()).starts_with("="))
        return *entry + name.size() + 1;
    }
    return nullptr;
  };
  auto world = StartMpiWorld({.launch = DetectMpiLaunch(lookup).value()});
  if (!world.ok()) {
    std::fprintf(stderr, "%s\n", world.status().message().c_str());
    return 1;
  }
  World() = std::move(world).value();
  const int failed = RUN_ALL_TESTS();
  if (const Status status = TestWorld().Finish(); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
  }
  return failed;
}

}  // namespace

MpiWorld& TestWorld() { return *World(); }

void RunRanks(int size, const std::function<void(Communicator&)>& body) {
  if (TestWorld().rank() >= size) return;
  std::vector<int> ranks(size);
  std::iota(ranks.begin(), ranks.end(), 0);
  body(*TestWorld().MakeCommunicator(ranks));
}

}  // namespace penstock

int main(int argc, char** argv, char** environment) {
  ::testing::InitGoogleTest(&argc, argv);
  return penstock::Run(environment);
}
