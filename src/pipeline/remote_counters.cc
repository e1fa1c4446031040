// SPDX-License-Identifier: Apache-2.0
#include "pipeline/remote_counters.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "pipeline/stage_worker.h"

namespace penstock {

RemoteCounters::RemoteCounters(const RemoteRanks& remote) : remote_(remote) {
  for (const int32_t process : WorkersOf(remote)) {
    answers_->latest[process] = {};
    const auto on_answer = [process, answers = answers_,
                            on_error = remote.on_error](std::span<const std::byte> bytes) {
      Result<CountersAnswer> answer = DecodeCounters(bytes);
      if (!answer.ok()) return on_error(answer.status().WithContext("counters"));
      std::lock_guard lock(answers->mutex);
      answers->latest[process] = *std::move(answer);
      answers->changed.notify_all();
    };
    ReceiveMessages({remote.endpoint, process, kCountersChannel}, on_answer, remote.on_error);
  }
}

RankCounters RemoteCounters::Ask(int64_t limit_us) {
  std::unique_lock lock(answers_->mutex);
  const uint64_t question = ++last_question_;
  SendOrder(remote_, {.kind = Order::Kind::kCount, .question = question});
  answers_->changed.wait_for(lock, std::chrono::microseconds(limit_us), [&] {
    return std::ranges::all_of(answers_->latest,
                               [&](const auto& entry) { return entry.second.question >= question; });
  });
  return SumOfLatest();
}

RankCounters RemoteCounters::Latest() const {
  std::lock_guard lock(answers_->mutex);
  return SumOfLatest();
}

RankCounters RemoteCounters::SumOfLatest() const {
  RankCounters sum;
  for (const auto& [process, answer] : answers_->latest) sum.Add(answer.counters);
  return sum;
}

}  // namespace penstock
