// SPDX-License-Identifier: Apache-2.0
#include "comm/mpi/mpi_wait.h"

#include <chrono>
#include <thread>

#include "base/clock.h"

namespace penstock {
namespace {

constexpr int kSpins = 100;        // of about a microsecond
constexpr int64_t kYieldUs = 500;  // then sleep
constexpr int64_t kShortSleepUs = 20;
constexpr int64_t kLongSleepUs = 200;

}  // namespace

Status MpiStatus(int code, const char* call) {
  if (code == MPI_SUCCESS) return OkStatus();
  char text[MPI_MAX_ERROR_STRING] = {};
  int len = 0;
  MPI_Error_string(code, text, &len);
  return Unavailable("{}: {}", call, std::string(text, len));
}

void CheckMpi(int code, const char* call) { CHECK_EQ(code, MPI_SUCCESS) << MpiStatus(code, call).message(); }

Status AwaitRequests(std::span<MPI_Request> requests, int64_t limit_us) {
  int64_t start_us = 0;
  int64_t sleep_us = kShortSleepUs;
  for (int looks = 0;; ++looks) {
    int done = 0;
    const int code =
        MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) return MpiStatus(code, "MPI_Testall");
    if (done) return OkStatus();
    if (looks < kSpins) continue;
    const int64_t now_us = NowUs();
    if (start_us == 0) start_us = now_us;
    if (now_us - start_us > limit_us) return Unavailable("no answer within {} ms", limit_us / 1000);
    if (now_us - start_us < kYieldUs) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(sleep_us));
      sleep_us = std::min(sleep_us + sleep_us / 8 + 1, kLongSleepUs);
    }
  }
}

}  // namespace penstock
