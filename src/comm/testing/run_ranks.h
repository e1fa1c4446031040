// RunRanks: a group of ranks for a test, on what the test program is made for.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "comm/communicator.h"

namespace penstock {

// Runs body(comm) on each rank of a group of `size`; returns when all that this process runs have returned.
// comm_test: threads of one process. comm_mpi_test: each process runs its own rank, those beyond `size` none.
void RunRanks(int size, const std::function<void(Communicator&)>& body);

}  // namespace penstock
