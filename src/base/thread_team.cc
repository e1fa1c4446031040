// SPDX-License-Identifier: Apache-2.0
#include "base/thread_team.h"

#include <algorithm>

#include "base/affinity.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/clock.h"

namespace penstock {
namespace {

constexpr int64_t kSpinUs = 50;  // longer than the gap between two kernels of a step

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Spins until done() or until kSpinUs have passed; the value of done().
template <typename Done>
bool SpinUntil(const Done& done) {
  const int64_t deadline_us = NowUs() + kSpinUs;
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
      CpuRelax();
    }
    if (NowUs() >= deadline_us) return done();
  }
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads, std::vector<int> cores, const std::string& name)
    : num_threads_(num_threads) {
  CHECK_GE(num_threads, 1);
  for (int i = 1; i < num_threads; ++i) {
    const int core = cores.empty() ? -1 : cores[i % cores.size()];
    helpers_.emplace_back([this, i, core, name] {
      NameThisThread(name + "." + std::to_string(i));
      HelperLoop(i, core);
    });
  }
}

ThreadTeam::~ThreadTeam() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    epoch_.fetch_add(1);
  }
  wake_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void ThreadTeam::Run(FunctionRef<void(int)> task) {
  if (num_threads_ == 1) return task(0);
  task_ = &task;
  pending_.store(num_threads_ - 1, std::memory_order_relaxed);
  epoch_.fetch_add(1);  // seq_cst: ordered against sleepers_ below
  if (sleepers_.load() > 0) {
    std::lock_guard lock(mutex_);  // a helper between its check and its wait holds this
    wake_.notify_all();
  }
  task(0);
  while (pending_.load(std::memory_order_acquire) != 0) {
    if (!SpinUntil([&] { return pending_.load(std::memory_order_acquire) == 0; })) std::this_thread::yield();
  }
}

void ThreadTeam::HelperLoop(int thread_idx, int core) {
  if (core >= 0) PinThisThread(std::span<const int>(&core, 1));
  uint64_t seen = 0;
  for (;;) {
    auto has_work = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
    if (!SpinUntil(has_work)) {
      std::unique_lock lock(mutex_);
      sleepers_.fetch_add(1);
      wake_.wait(lock, has_work);
      sleepers_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    (*task_)(thread_idx);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadTeam::ParallelFor(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> body) {
  const int64_t pieces = CeilDiv(count, grain);
  if (num_threads_ == 1 || pieces <= 1) {
    if (count > 0) body(0, count);
    return;
  }
  Run([&](int thread_idx) {
    const int64_t begin = pieces * thread_idx / num_threads_ * grain;
    const int64_t end = std::min(count, pieces * (thread_idx + 1) / num_threads_ * grain);
    if (begin < end) body(begin, end);
  });
}

void ThreadTeam::ForEach(int64_t count, FunctionRef<void(int64_t, int)> body) {
  std::atomic<int64_t> next{0};
  Run([&](int thread_idx) {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(i, thread_idx);
  });
}

}  // namespace penstock
