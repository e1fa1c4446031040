// A Communicator over MPI: ranks in processes of their own.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <memory>
#include <span>

#include "comm/communicator.h"

namespace penstock {

// Of the ranks `ranks` of `parent`, of which this is one; called by each of them. A part is below 2 GiB.
std::unique_ptr<Communicator> MakeMpiCommunicator(MPI_Comm parent, std::span<const int> ranks);

}  // namespace penstock
