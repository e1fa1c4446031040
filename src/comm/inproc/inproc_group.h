// InprocGroup: a Communicator whose ranks are threads of this process.
//
// For each pair of ranks there is a ring of slots in which the sender leaves where its bytes are; the
// receiver copies them, and the sender's Wait() ends when it has. A waiting rank spins for a moment, then
// sleeps.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace penstock {

// The communicators of ranks 0 … size - 1, each to be used by one thread. They share what is between them.
std::vector<std::unique_ptr<Communicator>> MakeInprocGroup(int size);

}  // namespace penstock
