// SPDX-License-Identifier: Apache-2.0
#include "plan/parse_layout.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string>

namespace penstock {
namespace {

constexpr int32_t kMostRanks = 4096;

struct Dimension {
  std::string_view prefix;
  int32_t ParallelLayout::* size;
};
// "pcp" before "pp" would not matter: neither begins with the other.
constexpr Dimension kDimensions[] = {{"dp", &ParallelLayout::dp},
                                     {"pp", &ParallelLayout::pp},
                                     {"pcp", &ParallelLayout::pcp},
                                     {"tp", &ParallelLayout::tp}};

// Takes one dimension off `rest`; whether there was one.
bool TakeDimension(std::string_view* rest, ParallelLayout* layout) {
  for (const Dimension& dimension : kDimensions) {
    if (!rest->starts_with(dimension.prefix)) continue;
    const std::string_view digits = rest->substr(dimension.prefix.size());
    int32_t size = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    if (error != std::errc() || size < 1 || size > kMostRanks || layout->*dimension.size != 1) return false;
    layout->*dimension.size = size;
    rest->remove_prefix(static_cast<size_t>(end - rest->data()));
    return true;
  }
  return false;
}

}  // namespace

Result<ParallelLayout> ParseLayout(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::string_view rest = text;
  ParallelLayout layout;
  if (rest.ends_with("+ep")) {
    layout.expert_parallel = true;
    rest.remove_suffix(3);
  }
  bool sound = !rest.empty();
  if (rest == "one rank") rest = "";
  while (sound && !rest.empty()) sound = TakeDimension(&rest, &layout);
  if (!sound || layout.world_size() > kMostRanks) {
    return InvalidArgument(
        "got \"{}\", expected a layout of at most {} ranks, such as pp2tp8, pcp2tp8 or dp2tp8+ep", name,
        kMostRanks);
  }
  return layout;
}

Result<std::vector<ParallelLayout>> ParseLayouts(std::string_view names) {
  std::vector<ParallelLayout> layouts;
  for (size_t begin = 0; begin <= names.size();) {
    const size_t end = std::min(names.find(',', begin), names.size());
    ASSIGN_OR_RETURN(const ParallelLayout layout, ParseLayout(names.substr(begin, end - begin)));
    layouts.push_back(layout);
    begin = end + 1;
  }
  return layouts;
}

}  // namespace penstock
