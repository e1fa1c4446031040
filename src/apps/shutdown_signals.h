// ShutdownSignals: SIGTERM and SIGINT of a server. While it starts, a signal ends the process; once it
// serves, the first one asks it to drain, and the second ends the process at once. SIGPIPE is ignored
// throughout.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

namespace penstock {

class ShutdownSignals {
 public:
  // Make it before any other thread: they inherit that the signals are not theirs.
  ShutdownSignals();
  ~ShutdownSignals();
  ShutdownSignals(const ShutdownSignals&) = delete;
  ShutdownSignals& operator=(const ShutdownSignals&) = delete;

  // From now on the server serves: waits for the first signal, and returns its number.
  int Wait();

 private:
  void Loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  bool serving_ = false;  // GUARDED_BY(mutex_)
  bool ended_ = false;    // GUARDED_BY(mutex_)
  int first_signal_ = 0;  // GUARDED_BY(mutex_)
  std::thread thread_;
};

}  // namespace penstock
