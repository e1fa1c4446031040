// Waiting for MPI requests without keeping a core busy, and what an MPI error says.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mpi.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

namespace penstock {

constexpr int64_t kNoLimit = INT64_MAX;

// Waits until all requests are done: looks without a pause for some microseconds, as messages between threads
// that both run are that quick, then lets others have the core, then sleeps for 20 to 200 us between looks.
// Error: MPI's; kUnavailable when `limit_us` has passed (requests are then as MPI left them).
Status AwaitRequests(std::span<MPI_Request> requests, int64_t limit_us = kNoLimit);

// A status of what MPI returned; `call` is the function's name.
Status MpiStatus(int code, const char* call);

// CHECKs that a call cannot fail but by our mistake.
void CheckMpi(int code, const char* call);

}  // namespace penstock
