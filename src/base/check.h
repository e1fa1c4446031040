// CHECK: an invariant of ours is broken; print where and why, and end the process.
//
// Never reachable from user input: what the world can get wrong returns a Status (status.h).
// On in every build. Usage: CHECK(cond) << "why"; CHECK_EQ(a, b) << "why";
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sstream>

namespace penstock {

class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();  // prints the message and aborts
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace penstock

// The switch keeps `if (x) CHECK(y);` free of an ambiguous else.
#define CHECK(cond)                                     \
  switch (0)                                            \
  case 0:                                               \
  default:                                              \
    if (__builtin_expect(static_cast<bool>(cond), 1)) { \
    } else                                              \
      ::penstock::CheckFailure(__FILE__, __LINE__, #cond).stream()

#define CHECK_OP_(a, b, op)                                                    \
  switch (0)                                                                   \
  case 0:                                                                      \
  default:                                                                     \
    if (__builtin_expect(static_cast<bool>((a)op(b)), 1)) {                    \
    } else                                                                     \
      ::penstock::CheckFailure(__FILE__, __LINE__, #a " " #op " " #b).stream() \
          << "(" << (a) << " vs " << (b) << ") "
#define CHECK_EQ(a, b) CHECK_OP_(a, b, ==)
#define CHECK_NE(a, b) CHECK_OP_(a, b, !=)
#define CHECK_LE(a, b) CHECK_OP_(a, b, <=)
#define CHECK_LT(a, b) CHECK_OP_(a, b, <)
#define CHECK_GE(a, b) CHECK_OP_(a, b, >=)
#define CHECK_GT(a, b) CHECK_OP_(a, b, >)
