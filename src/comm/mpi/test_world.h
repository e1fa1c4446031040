// The world of comm_mpi_test: started once by its main().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "comm/mpi_world.h"

namespace penstock {

MpiWorld& TestWorld();

}  // namespace penstock
