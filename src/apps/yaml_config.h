// The file of --config: flags as YAML. yaml-cpp is included in yaml_config.cc only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apps/flag_spec.h"
#include "base/status.h"

namespace penstock {

// The file as words of a command line:
//   port: 8003                  --port=8003
//   enable-prefix-caching: no   --no-enable-prefix-caching
//   served-model-name: [a, b]   --served-model-name a b
//   additional-config: {a: 1}   --additional-config={"a":1}
// A value that is null is left out. kNotFound if the file cannot be read; kInvalidArgument with line and
// column for what is not YAML, is no map at the top, or has a key that is no flag of `table`.
Result<std::vector<std::string>> ReadYamlConfig(const std::string& path, const FlagTable& table);
Result<std::vector<std::string>> ParseYamlConfig(const std::string& text, const FlagTable& table);

}  // namespace penstock
