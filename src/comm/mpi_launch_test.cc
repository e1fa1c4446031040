// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi_launch.h"

#include <gtest/gtest.h>

#include <map>

namespace penstock {
namespace {

Result<MpiLaunch> Detect(const std::map<std::string, std::string>& environment) {
  return DetectMpiLaunch([&](const char* name) -> const char* {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  });
}

TEST(MpiLaunchTest, AnOrdinaryStartIsNone) {
  EXPECT_FALSE(Detect({}).value().launched());
  // A batch script of Slurm, and an srun of one task, are ordinary starts.
  EXPECT_FALSE(Detect({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}}).value().launched());
  EXPECT_FALSE(Detect({{"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "1"}}).value().launched());
}

TEST(MpiLaunchTest, LaunchersAreKnown) {
  const MpiLaunch ompi =
      Detect({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "4"}, {"PMIX_RANK", "3"}}).value();
  EXPECT_EQ(ompi.launcher, "Open MPI's mpirun");
  EXPECT_EQ(ompi.rank, 3);
  EXPECT_EQ(ompi.size, 4);
  const MpiLaunch slurm = Detect({{"PMIX_RANK", "1"}, {"SLURM_STEP_NUM_TASKS", "2"}}).value();
  EXPECT_EQ(slurm.launcher, "PMIx");
  EXPECT_EQ(slurm.rank, 1);
  EXPECT_EQ(slurm.size, 2);
  EXPECT_EQ(Detect({{"PMI_RANK", "1"}, {"PMI_SIZE", "8"}}).value().size, 8);
}

TEST(MpiLaunchTest, TasksThatCannotFindEachOtherAreAnError) {
  const auto result = Detect({{"SLURM_PROCID", "2"}, {"SLURM_STEP_NUM_TASKS", "4"}});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.status().message().find("--mpi=pmix"), std::string::npos) << result.status().message();
}

}  // namespace
}  // namespace penstock
