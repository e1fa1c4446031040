// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "text/jinja/builtins.h"

namespace penstock::jinja {

bool Call::Bind(std::initializer_list<std::string_view> names, size_t num_required) {
  if (positional.size() > names.size()) {
    context_.Fail("{}() takes at most {} argument(s), got {}", function_, names.size(), positional.size());
    return false;
  }
  std::vector<bool> given(names.size(), false);
  std::fill_n(given.begin(), positional.size(), true);
  positional.resize(names.size());
  for (auto& [name, value] : keyword) {
    const size_t i = std::ranges::find(names, name) - names.begin();
    if (i == names.size() || given[i]) {
      context_.Fail("{}() got an unexpected argument '{}'", function_, name);
      return false;
    }
    positional[i] = std::move(value);
    given[i] = true;
  }
  for (size_t i = 0; i < num_required; ++i) {
    if (!given[i]) context_.Fail("{}() is missing its argument '{}'", function_, names.begin()[i]);
  }
  return !context_.failed();
}

Int Call::IntAt(size_t i, Int otherwise) {
  if (!Has(i) || positional[i].is_none()) return otherwise;
  if (positional[i].is_int() || positional[i].is_bool()) return positional[i].integer();
  context_.Fail("{}() needs an integer, got {}", function_, positional[i].type_name());
  return otherwise;
}

std::string Call::StringAt(size_t i, std::string_view otherwise) {
  if (!Has(i)) return std::string(otherwise);
  if (positional[i].is_string()) return positional[i].string();
  context_.Fail("{}() needs a string, got {}", function_, positional[i].type_name());
  return "";
}

const std::string* Call::StringOrNull(size_t i) {
  if (!Has(i) || positional[i].is_none()) return nullptr;
  if (positional[i].is_string()) return &positional[i].string();
  context_.Fail("{}() needs a string or None, got {}", function_, positional[i].type_name());
  return nullptr;
}

}  // namespace penstock::jinja
