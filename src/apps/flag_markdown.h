// The tables of docs/cli.md, made from the tables of flags; a test holds the file to them.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace penstock {

// Everything below the line "<!-- flags -->" of docs/cli.md. Printed by `penstock help markdown`.
std::string FlagsMarkdown();

}  // namespace penstock
