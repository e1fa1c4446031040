// StartWatchdog: ends the process when MPI_Init does not return in time.
//
// MPI_Init waits for every rank, inside MPI and without a limit.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace penstock {

class StartWatchdog {
 public:
  // Unless it is destroyed before: logs `message` after limit_us and ends the process with exit code 1.
  StartWatchdog(int64_t limit_us, std::string message);
  ~StartWatchdog();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;  // GUARDED_BY(mutex_)
  std::thread thread_;
};

}  // namespace penstock
