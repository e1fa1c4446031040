// WorkerPool: named threads that run short tasks (tokenising, rendering), so that the threads that must not
// block (HTTP, engine) do not do it themselves.
//
// Thread safety: every method may be called from any thread, but the destructor.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"

namespace penstock {

class WorkerPool {
 public:
  // `num_threads` >= 1 threads named NAME-0, NAME-1, …; at most `queue_limit` >= 1 tasks wait.
  explicit WorkerPool(int num_threads, size_t queue_limit, const std::string& name = "worker");
  // As Stop().
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Queues a task; tasks begin in the order of their submission. False, without waiting, if the queue is full
  // or the pool has been stopped: the task is then dropped. A task must not throw.
  bool Submit(std::function<void()> task);

  // Takes no more tasks, runs those that were taken, and joins the threads. Idempotent; from one thread, and
  // not from a task.
  void Stop();

  int num_threads() const { return num_threads_; }
  size_t num_waiting() const { return queue_.size(); }

 private:
  const int num_threads_;
  BoundedQueue<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
};

}  // namespace penstock
