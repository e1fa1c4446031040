// What a process of a job does that has no engine: its ranks' work, until process 0 is done.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "apps/commands.h"

namespace penstock {

// The exit code. Errors that all processes share are printed by process 0.
int RunWorker(CommandSetup& setup);

}  // namespace penstock
