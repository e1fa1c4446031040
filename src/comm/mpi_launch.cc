// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_launch.h"

#include <charconv>
#include <string_view>

namespace penstock {
namespace {

struct Variables {
  const char* launcher;
  const char* rank;
  const char* size;
};

constexpr Variables kLaunchers[] = {
    {"Open MPI's mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMIx", "PMIX_RANK", "SLURM_STEP_NUM_TASKS"},
    {"PMI", "PMI_RANK", "PMI_SIZE"},
};

int ToInt(const char* text) {
  int value = 0;
  if (text != nullptr) {
    const std::string_view view(text);
    std::from_chars(view.data(), view.data() + view.size(), value);
  }
  return value < 0 ? 0 : value;
}

}  // namespace

Result<MpiLaunch> DetectMpiLaunch(FunctionRef<const char*(const char*)> lookup) {
  for (const Variables& names : kLaunchers) {
    const char* rank = lookup(names.rank);
    if (rank == nullptr || *rank == '\0') continue;
    return MpiLaunch{names.launcher, ToInt(rank), ToInt(lookup(names.size))};
  }
  if (const int tasks = ToInt(lookup("SLURM_STEP_NUM_TASKS")); tasks > 1) {
    return InvalidArgument(
        "srun started {} tasks without MPI: got no PMIX_RANK and no PMI_RANK, expected srun --mpi=pmix",
        tasks);
  }
  return MpiLaunch{};
}

}  // namespace penstock
