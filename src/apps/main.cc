// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>

#include "apps/flag_help.h"
#include "apps/flags.h"

int main(int argc, char** argv) {
  std::vector<std::string> a(argv + 1, argv + argc);
  auto f = penstock::ParseFlags(a, penstock::ServeTable());
  if (!f.ok()) {
    fmt::print(stderr, "{}\n", f.status().message());
    return 2;
  }
  if (f->help())
    fmt::print("{}", penstock::CommandHelp("penstock serve MODEL [flags]", "Serves a model.",
                                           penstock::ServeTable(), *f->help()));
  for (auto& g : f->given()) fmt::print("{} = {}\n", g.spec->name, g.value.dump());
  return 0;
}
