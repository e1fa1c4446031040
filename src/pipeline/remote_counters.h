// RemoteCounters: what the ranks of a replica in other processes have counted, as process 0 asks for it.
//
// Thread-safe.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>

#include "pipeline/lane_wiring.h"
#include "pipeline/wire.h"

namespace penstock {

class RemoteCounters {
 public:
  explicit RemoteCounters(const RemoteRanks& remote);

  // Asks all workers and waits for their answers, `limit_us` at most: who has not answered then counts as it
  // did the last time.
  RankCounters Ask(int64_t limit_us);
  // As they answered the last time.
  RankCounters Latest() const;

 private:
  // What the endpoint's callbacks know; they may come when this is gone.
  struct Answers {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<int32_t, CountersAnswer> latest;  // GUARDED_BY(mutex): of each worker
  };

  RankCounters SumOfLatest() const;  // with the mutex held

  const RemoteRanks remote_;
  uint64_t last_question_ = 0;  // GUARDED_BY(answers_->mutex)
  const std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
};

}  // namespace penstock
