// A thread waits for the signals with sigwait(): nothing runs in a signal handler.
//
// SPDX-License-Identifier: Apache-2.0
#include "apps/shutdown_signals.h"

#include <pthread.h>
#include <signal.h>

#include <cstdlib>

#include "base/affinity.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr int kSignals[] = {SIGTERM, SIGINT};

sigset_t SignalSet() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : kSignals) sigaddset(&set, number);
  return set;
}

}  // namespace

ShutdownSignals::ShutdownSignals() {
  signal(SIGPIPE, SIG_IGN);
  for (int number : kSignals) signal(number, SIG_DFL);  // a shell starts background jobs with SIGINT ignored
  const sigset_t set = SignalSet();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  thread_ = std::thread([this] { Loop(); });
}

ShutdownSignals::~ShutdownSignals() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  pthread_kill(thread_.native_handle(), SIGTERM);  // blocked everywhere, so that it only ends the sigwait()
  thread_.join();
}

int ShutdownSignals::Wait() {
  std::unique_lock lock(mutex_);
  serving_ = true;
  changed_.wait(lock, [&] { return first_signal_ != 0; });
  return first_signal_;
}

void ShutdownSignals::Loop() {
  NameThisThread("signals");
  const sigset_t set = SignalSet();
  while (true) {
    int number = 0;
    sigwait(&set, &number);
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (!serving_ || first_signal_ != 0) {
      LogWarning("Ended by {}.", number == SIGINT ? "SIGINT" : "SIGTERM");
      std::_Exit(128 + number);
    }
    first_signal_ = number;
    changed_.notify_all();
  }
}

}  // namespace penstock
