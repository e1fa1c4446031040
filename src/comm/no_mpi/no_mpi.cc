// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_world.h"

namespace penstock {

Result<std::unique_ptr<MpiWorld>> StartMpiWorld(const MpiStartOptions& options) {
  if (options.launch.launched()) {
    return Unimplemented(
        "started by {} as rank {} of {}: this build has no MPI (build with -DPENSTOCK_MPI=ON)",
        options.launch.launcher, options.launch.rank, options.launch.size);
  }
  return MakeOneRankWorld();
}

std::string MpiLibraryName() { return ""; }

}  // namespace penstock
