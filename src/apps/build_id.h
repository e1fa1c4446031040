// BuildId: what tells this program from one that was built at another time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock {

// The version, and size and time of the program's file.
std::string BuildId();

// The version, and a hash of the program's bytes: the same for copies.
std::string ProgramFingerprint();

}  // namespace penstock
