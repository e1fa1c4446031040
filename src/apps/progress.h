// Progress of something long, on stderr: a bar that is drawn over itself on a terminal, a few plain lines
// elsewhere.
//
//   Loading weights  [############--------]  60%  154/257 MiB
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

namespace penstock {

// Thread-safe: several ranks load at the same time, each reports its own part.
class Progress {
 public:
  // `part_totals`: bytes of each part. `is_terminal`: draw a bar. `out` outlives the object.
  Progress(std::string title, std::vector<uint64_t> part_totals, std::FILE* out, bool is_terminal);
  // On stderr, whatever that is.
  Progress(std::string title, std::vector<uint64_t> part_totals);
  // Ends the bar's line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Update(size_t part, uint64_t done_bytes);

 private:
  void Draw();  // mutex_ held

  const std::string title_;
  const bool is_terminal_;
  std::FILE* const out_;
  uint64_t total_ = 0;
  std::mutex mutex_;
  std::vector<uint64_t> done_;  // GUARDED_BY(mutex_)
  int shown_percent_ = -1;      // GUARDED_BY(mutex_)
};

}  // namespace penstock
