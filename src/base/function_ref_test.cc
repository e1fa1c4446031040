// SPDX-License-Identifier: Apache-2.0
#include "base/function_ref.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace penstock {
namespace {

int Twice(FunctionRef<int(int)> f) { return f(1) + f(2); }

int PlusTen(int x) { return x + 10; }

TEST(FunctionRef, CallsWhatItRefersTo) {
  int calls = 0;
  auto count = [&calls](int x) { return ++calls, x; };
  EXPECT_EQ(Twice(count), 3);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(Twice([state = 0](int x) mutable { return state += x; }), 1 + 3);  // one state, not two copies
  EXPECT_EQ(Twice(&PlusTen), 23);
  const std::function<int(int)> held = PlusTen;
  EXPECT_EQ(Twice(held), 23);
  const FunctionRef<int(int)> ref = count;
  EXPECT_EQ(Twice(ref), 3);
}

TEST(FunctionRef, PassesArgumentsOnAsTheyCome) {
  std::string kept;
  auto keep = [&kept](std::string&& text) { kept = std::move(text); };
  const FunctionRef<void(std::string&&)> call(keep);
  call("text");
  EXPECT_EQ(kept, "text");
}

}  // namespace
}  // namespace penstock
