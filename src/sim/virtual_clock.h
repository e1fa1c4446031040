// VirtualClock: time that moves when it is told to.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/check.h"

namespace penstock {

class VirtualClock {
 public:
  int64_t now_us() const { return now_us_; }
  void AdvanceTo(int64_t time_us) {
    CHECK_GE(time_us, now_us_);
    now_us_ = time_us;
  }

 private:
  int64_t now_us_ = 0;
};

}  // namespace penstock
