// A MessageEndpoint over MPI.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <memory>

#include "comm/message_channel.h"

namespace penstock {

// All ranks of `parent`. The endpoint has a communicator of its own.
std::unique_ptr<MessageEndpoint> MakeMpiEndpoint(MPI_Comm parent, MessageEndpoint::OnError on_error);

}  // namespace penstock
