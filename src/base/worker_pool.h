// WorkerPool: a few threads for work that must not run on the caller's thread (parsing, templates, tokenising).
//
// Thread-safe. Tasks must not throw.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/affinity.h"
#include "base/bounded_queue.h"

namespace penstock {

class WorkerPool {
 public:
  // `queue_limit`: how many tasks may wait, beside those that run.
  explicit WorkerPool(int threads, size_t queue_limit) : tasks_(queue_limit) {
    for (int i = 0; i < threads; ++i) {
      threads_.emplace_back([this, i] {
        NameThisThread("worker-" + std::to_string(i));
        while (std::optional<std::function<void()>> task = tasks_.Pop()) (*task)();
      });
    }
  }
  // Runs what is queued, then ends the threads.
  ~WorkerPool() {
    tasks_.Close();
    for (std::thread& thread : threads_) thread.join();
  }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // False, and the task is dropped, if the queue is full.
  bool Submit(std::function<void()> task) { return tasks_.TryPush(std::move(task)); }

 private:
  BoundedQueue<std::function<void()>> tasks_;
  std::vector<std::thread> threads_;
};

}  // namespace penstock
