// The filters on lists and dicts.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string_view>

#include "text/jinja/builtins.h"

namespace penstock::jinja {

void AddListFilters(std::map<std::string_view, Filter>& filters);

}  // namespace penstock::jinja
