// What tells one checkpoint from another without reading it all, whatever directory it is in.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/status.h"

namespace penstock {

// A hash of: names, sizes, times of modification and headers of the .safetensors files of `dir`; names and
// content of config.json, of the indices, and of the description of quantised weights. Copies that keep the
// times (cp -p, rsync -a) have the same one. kNotFound if there are none, kInternal if one cannot be read.
Result<std::string> CheckpointIdentity(const std::string& dir);

// The same of what is in the files only: instead of the times, some of their weights. Copies have the same
// one.
Result<std::string> CheckpointFingerprint(const std::string& dir);

}  // namespace penstock
