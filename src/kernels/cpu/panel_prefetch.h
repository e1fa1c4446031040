// PanelPrefetch: brings the next panel of weights into the second-level cache while rows meet the present
// one, so that memory is read and numbers are multiplied at the same time. For the per-ISA sources only.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace penstock {
namespace {

// What one register tile brings: one or two lines for each step of its loop, from `at` on.
struct PanelPrefetch {
  static constexpr int64_t kLine = 64;

  const char* at = nullptr;
  int64_t step_bytes = 0;  // 0: nothing is left to bring (the same lines again cost nothing)

  [[gnu::always_inline]] inline void Step() {
    __builtin_prefetch(at, 0, 2);
    __builtin_prefetch(at + 64, 0, 2);
    at += step_bytes;
  }
};

// The part of `group`, a group of rows out of num_groups that meet the same panel block of `num_steps` steps,
// when the block that follows is `next`, of `bytes`. Where there is one group, the processor's own
// prefetching does as well.
inline PanelPrefetch PartOfNextPanel(const void* present, const void* next, int64_t bytes, int64_t num_steps,
                                     int64_t group, int64_t num_groups) {
  // One line where that is enough: memory is slower than two, and a step that waits for it is lost.
  const int64_t lines = bytes <= num_groups * num_steps * PanelPrefetch::kLine ? 1 : 2;
  const int64_t offset = group * num_steps * lines * PanelPrefetch::kLine;
  if (next == nullptr || num_groups == 1 || offset >= bytes) return {static_cast<const char*>(present), 0};
  return {static_cast<const char*>(next) + offset, lines * PanelPrefetch::kLine};
}

}  // namespace
}  // namespace penstock
