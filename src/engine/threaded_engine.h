// ThreadedEngine: Engine on a thread of its own.
//
// The thread ("engine") owns an EngineCore and does nothing but tick it: it sleeps until a request or an
// abort comes in, or the executor has a result. Submit() checks the request on the caller's thread and leaves
// it in an inbox; whatever else is asked of the core is left there too, and answered after the next tick.
// `mutex_` guards the inbox and the book of live requests, and is held for a few instructions at a time.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/admission.h"
#include "engine/engine.h"
#include "engine/engine_config.h"
#include "engine/engine_core.h"
#include "engine/stats_log.h"

namespace penstock {

// `executor` and `texts` outlive the engine. `planner` null: static chunks. kInvalidArgument for a
// configuration that cannot work.
Result<std::unique_ptr<Engine>> MakeEngine(const EngineConfig& config, Executor& executor,
                                           TokenTextFactory& texts,
                                           std::unique_ptr<ChunkPlanner> planner = nullptr);

class ThreadedEngine : public Engine {
 public:
  // Use MakeEngine().
  ThreadedEngine(const EngineConfig& config, Executor& executor, TokenTextFactory& texts,
                 std::unique_ptr<ChunkPlanner> planner);
  // Aborts what is still live.
  ~ThreadedEngine() override;

  const EngineLimits& limits() const override { return limits_; }
  Status Submit(Request request, OutputSink sink) override;
  void Abort(const std::string& request_id) override;
  EngineStats Stats() const override;
  // The first call waits for a tick; after every later one the engine thread publishes what it is.
  EngineLoad Load() const override;
  Status Health() const override;
  Status Stall() const override;
  void ResetPrefixCache() override;
  void StartTrace() override;
  std::string StopTrace() override;
  void Drain(int64_t timeout_us) override;
  // As EngineCore::SetCost().
  void SetCost(const CostModel& cost);

 private:
  struct Arrival {
    Request request;
    OutputSink sink;
    int64_t arrival_us;
  };
  // What others have left for the engine thread.
  struct Inbox {
    std::vector<Arrival> arrivals;
    std::vector<std::string> aborts;
    std::vector<std::function<void()>> questions;
    bool abort_all = false;
    bool stop = false;
  };
  // Outlives the engine in the executor's notify function.
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool ringing = false;  // GUARDED_BY(mutex)
    void Ring();
  };

  // Has the engine thread ask its core. Nothing where it does not come to it in time: it hangs.
  template <typename Answer>
  std::optional<Answer> Ask(std::function<Answer(EngineCore&)> question) const;

  void Run();
  // Sleeps until there is something to do, or until `until_us`.
  Inbox WaitForWork(int64_t until_us);
  void Apply(Inbox& inbox);
  void Publish();
  void PublishLoad();
  // `sink`, with the book of live requests kept.
  OutputSink KeepingBook(std::string request_id, OutputSink sink);

  const EngineConfig config_;
  const EngineLimits limits_;
  const std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();

  mutable EngineCore core_;  // engine thread, but for CheckRequest()
  StatsLog stats_log_;       // engine thread

  mutable std::mutex mutex_;
  mutable std::condition_variable answered_;
  std::condition_variable all_ended_;
  mutable Inbox inbox_;          // GUARDED_BY(mutex_)
  EngineLoad load_;              // GUARDED_BY(mutex_): up to date where load_wanted_
  mutable EngineStats stats_;    // GUARDED_BY(mutex_): the last that Stats() could get
  Admission admission_;          // GUARDED_BY(mutex_)
  int32_t num_undelivered_ = 0;  // GUARDED_BY(mutex_): live requests whose sink has not had its last output
  bool draining_ = false;        // GUARDED_BY(mutex_)
  Status failure_;               // GUARDED_BY(mutex_): as EngineCore::failure()

  uint64_t num_admitted_ = 0;  // engine thread
  mutable std::atomic<bool> load_wanted_{false};

  // For Health(), which must not wait for a thread that may hang.
  std::atomic<int64_t> stall_deadline_us_{StallDetector::kNever};
  std::atomic<int64_t> last_progress_us_{0};
  std::atomic<int64_t> busy_since_us_{0};  // when the engine thread began its present tick; 0: it sleeps
  std::atomic<int32_t> consecutive_failures_{0};

  std::thread thread_;
};

}  // namespace penstock
