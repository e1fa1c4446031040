// SPDX-License-Identifier: Apache-2.0
#include <mpi.h>

#include <string>

#include "base/log.h"
#include "comm/mpi/mpi_process_world.h"
#include "comm/mpi/mpi_wait.h"
#include "comm/mpi/start_watchdog.h"

namespace penstock {
namespace {

const char* ThreadLevelName(int level) {
  switch (level) {
    case MPI_THREAD_SINGLE:
      return "MPI_THREAD_SINGLE";
    case MPI_THREAD_FUNNELED:
      return "MPI_THREAD_FUNNELED";
    case MPI_THREAD_SERIALIZED:
      return "MPI_THREAD_SERIALIZED";
    default:
      return "MPI_THREAD_MULTIPLE";
  }
}

Status InitMpi(const MpiStartOptions& options) {
  // Rank 0 is to speak alone where it can; the others are for a rank 0 that is not there.
  const int64_t limit_us = options.connect_limit_us + (options.launch.rank == 0 ? 0 : 5'000'000);
  const StartWatchdog watchdog(
      limit_us,
      fmt::format("not all ranks of the job have started after {} s: MPI_Init does not return on rank {} "
                  "(of {}, started by {})",
                  limit_us / 1'000'000, options.launch.rank, options.launch.size, options.launch.launcher));
  int got = MPI_THREAD_SINGLE;
  RETURN_IF_ERROR(MpiStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &got), "MPI_Init_thread"));
  if (got < MPI_THREAD_MULTIPLE) {
    return Unimplemented("{}: got {}, expected MPI_THREAD_MULTIPLE", MpiLibraryName(), ThreadLevelName(got));
  }
  return OkStatus();
}

}  // namespace

std::string MpiLibraryName() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  int len = 0;
  if (MPI_Get_library_version(text, &len) != MPI_SUCCESS) return "MPI";
  // "Open MPI v4.1.4, package: …", or a line of its own.
  const std::string name(text, len);
  return name.substr(0, name.find_first_of(",\n"));
}

Result<std::unique_ptr<MpiWorld>> StartMpiWorld(const MpiStartOptions& options) {
  if (!options.launch.launched()) return MakeOneRankWorld();
  RETURN_IF_ERROR(InitMpi(options));
  auto world = std::make_unique<MpiProcessWorld>();
  if (options.launch.size > 0 && world->size() != options.launch.size) {
    return InvalidArgument(
        "{}: a world of {} ranks, expected {} (started by {}, which may be of another MPI)", MpiLibraryName(),
        world->size(), options.launch.size, options.launch.launcher);
  }
  if (const Status status = world->Meet(options.connect_limit_us); !status.ok()) {
    LogError("{}", status.message());
    world->Abort(1);
  }
  RETURN_IF_ERROR(world->Introduce());
  return std::unique_ptr<MpiWorld>(std::move(world));
}

}  // namespace penstock
