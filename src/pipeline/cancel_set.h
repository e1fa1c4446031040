// CancelSet: the sequences whose chunks a stage need not begin any more. Shared by the stages of one process.
//
// Thread-safe.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "plan/step.h"

namespace penstock {

class CancelSet {
 public:
  // Cancels `seq` in all steps up to `last_step_id`, the last one submitted so far.
  void Add(SeqId seq, uint64_t last_step_id) {
    std::lock_guard lock(mutex_);
    last_step_[seq] = last_step_id;
    size_ = last_step_.size();
  }

  bool Contains(SeqId seq) const {
    if (size_.load(std::memory_order_acquire) == 0) return false;  // nearly always
    std::lock_guard lock(mutex_);
    return last_step_.count(seq) > 0;
  }

  // Nothing that has not begun is to begin: the pipeline ends.
  void CancelAll() { all_ = true; }
  bool all() const { return all_; }

  // Forgets what no step after `step_id` can need.
  void ForgetUpTo(uint64_t step_id) {
    if (size_.load(std::memory_order_acquire) == 0) return;
    std::lock_guard lock(mutex_);
    std::erase_if(last_step_, [&](const auto& entry) { return entry.second <= step_id; });
    size_ = last_step_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<SeqId, uint64_t> last_step_;  // GUARDED_BY(mutex_)
  std::atomic<size_t> size_{0};
  std::atomic<bool> all_{false};
};

}  // namespace penstock
