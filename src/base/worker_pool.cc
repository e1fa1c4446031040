// A bounded queue with threads behind it. Stop() closes the queue; the threads drain it and end.
//
// SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.h"

#include <utility>

#include "base/affinity.h"
#include "base/check.h"

namespace penstock {

WorkerPool::WorkerPool(int num_threads, size_t queue_limit, const std::string& name)
    : num_threads_(num_threads), queue_(queue_limit) {
  CHECK_GE(num_threads, 1);
  CHECK_GE(queue_limit, 1u);
  threads_.reserve(num_threads);
  for (int i = 0; i < num_threads; ++i) {
    threads_.emplace_back([this, thread_name = name + "-" + std::to_string(i)] {
      NameThisThread(thread_name);
      while (std::optional<std::function<void()>> task = queue_.Pop()) (*task)();
    });
  }
}

WorkerPool::~WorkerPool() { Stop(); }

bool WorkerPool::Submit(std::function<void()> task) { return queue_.TryPush(std::move(task)); }

void WorkerPool::Stop() {
  queue_.Close();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace penstock
