// Progress of something long: a bar that is drawn over itself on a terminal, a few plain lines elsewhere.
//
//   Loading weights  [############--------]   60%  154/257 MiB
//   Calibrating      [##########----------]   50%  6 s left
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

namespace penstock {

enum class ProgressUnit {
  kBytes,
  kTimeLeft,  // microseconds: of those done and in all, the rest is shown
  kLayers,
};

// Not thread-safe: one Update() at a time, from any thread.
class Progress {
 public:
  // `is_terminal`: draw a bar. `out` outlives the object.
  Progress(std::string title, ProgressUnit unit, std::FILE* out, bool is_terminal);
  // On stderr, whatever that is.
  explicit Progress(std::string title, ProgressUnit unit = ProgressUnit::kBytes);
  // Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The total may grow, where parts become known one after the other; the bar waits then.
  void Update(uint64_t done, uint64_t total);

 private:
  const std::string title_;
  const ProgressUnit unit_;
  std::FILE* const out_;
  const bool is_terminal_;
  int shown_percent_ = -1;
};

}  // namespace penstock
