// MpiLaunch: how this process was started, read from the environment.
//
//   mpirun, the MPI operator   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE
//   srun --mpi=pmix, PRRTE     PMIX_RANK (and PMIX_NAMESPACE)
//   srun --mpi=pmi2, MPICH     PMI_RANK, PMI_SIZE
//   srun without --mpi         SLURM_PROCID, SLURM_STEP_NUM_TASKS alone: each task believes to be alone
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/function_ref.h"
#include "base/status.h"

namespace penstock {

struct MpiLaunch {
  std::string launcher;  // empty: started as an ordinary program
  int rank = 0;          // as the launcher numbers it
  int size = 0;          // ranks that it started; 0: it does not say

  bool launched() const { return !launcher.empty(); }
};

// lookup(name): the variable's value, nullptr where it is not set (apps: getenv).
// Error: several tasks of srun that have no way to find each other.
Result<MpiLaunch> DetectMpiLaunch(FunctionRef<const char*(const char*)> lookup);

}  // namespace penstock
