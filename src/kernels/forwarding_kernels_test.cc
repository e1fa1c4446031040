// SPDX-License-Identifier: Apache-2.0
#include "kernels/forwarding_kernels.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace penstock {
namespace {

std::set<std::string> Matches(const std::string& path, const std::string& pattern) {
  std::stringstream text;
  text << std::ifstream(std::string(PENSTOCK_SOURCE_DIR) + "/src/kernels/" + path).rdbuf();
  const std::string all = text.str();
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(all.begin(), all.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

// A method that Kernels has a default for would otherwise be taken from there, past the kernels inside.
TEST(ForwardingKernels, ForwardsEveryMethod) {
  const std::set<std::string> methods = Matches("kernels.h", R"(virtual [^;(~]*?(\w+)\()");
  EXPECT_GE(methods.size(), 20u);
  const std::set<std::string> called = Matches("forwarding_kernels.h", R"(inner_->(\w+)\()");
  for (const std::string& method : methods) {
    const bool is_of_matrices = std::set<std::string>{"n", "k", "bytes", "Image"}.contains(method);
    EXPECT_TRUE(is_of_matrices || called.contains(method)) << method;
  }
}

}  // namespace
}  // namespace penstock
