// BuildId: what tells this program from one that was built at another time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock {

// The version, and size and time of the program's file.
std::string BuildId();

}  // namespace penstock
