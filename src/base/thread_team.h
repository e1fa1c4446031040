// ThreadTeam: the threads of one rank. The rank's own thread is member 0; Run() is a fork and a join.
//
//   rank thread   Run(f): f(0) ─────────────┐
//   helper 1        …spin/sleep… f(1) ──────┤ join
//   helper n-1      …spin/sleep… f(n-1) ────┘
//
// Helpers spin for a short while after a task, because the next kernel usually follows at once, then sleep.
// Thread safety: Run() only from the thread that made the team's work (one at a time). Tasks must not call
// Run().
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include "base/function_ref.h"

namespace penstock {

class ThreadTeam {
 public:
  // A team of `num_threads` >= 1. If `cores` is not empty, helper i is pinned to cores[i % cores.size()];
  // the caller pins itself. `name` is the prefix of the helpers' thread names.
  explicit ThreadTeam(int num_threads, std::vector<int> cores = {}, const std::string& name = "team");
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int size() const { return num_threads_; }

  // Runs task(thread_idx) on every member, thread_idx in [0, size()), and returns when all have ended.
  void Run(FunctionRef<void(int thread_idx)> task);

  // Runs body(begin, end) over [0, count) cut in size() pieces that are multiples of `grain` (but the last).
  void ParallelFor(int64_t count, int64_t grain, FunctionRef<void(int64_t begin, int64_t end)> body);

  // Runs body(item) for every item in [0, count), handed out one at a time: for items of unequal cost.
  void ForEach(int64_t count, FunctionRef<void(int64_t item, int thread_idx)> body);

 private:
  void HelperLoop(int thread_idx, int core);

  const int num_threads_;
  const FunctionRef<void(int)>* task_ = nullptr;  // published by epoch_
  std::atomic<uint64_t> epoch_{0};                // one more for each Run()
  std::atomic<int> pending_{0};                   // helpers that have not ended the current task
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // only for sleeping
  std::condition_variable wake_;
  std::atomic<int> sleepers_{0};
  std::vector<std::thread> helpers_;
};

}  // namespace penstock
