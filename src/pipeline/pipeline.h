// Pipeline: the Executor over real stages. Each stage is a rank with its own thread (and kernel team).
//
//   Submit ─▶ [queue] ─▶ stage 0 ─▶ [queue] ─▶ stage 1 ─▶ … ─▶ last stage ─▶ [results] ─▶ Poll
//
// A step's hidden states live in one buffer that travels with it, so that the hand-over between stages of one
// process moves a pointer. Nothing goes back from the last stage to the first but the free buffer, and no
// stage waits for a later one unless more than `num_hidden_buffers` steps are between stage 0 and the result.
//
// Thread safety: Submit, Poll and Cancel from one thread (the engine's).
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/bounded_queue.h"
#include "base/status.h"
#include "pipeline/cancel_set.h"
#include "pipeline/stage.h"
#include "plan/executor.h"

namespace penstock {

struct PipelineOptions {
  int32_t num_stages = 1;
  ModelOptions model;
  int32_t num_hidden_buffers = 0;  // 0: NumHiddenBuffers(num_stages)
};

// Enough for all steps that the scheduler has in flight at once.
inline int32_t NumHiddenBuffers(int32_t num_stages) { return 2 * num_stages + 2; }

// Makes the rank of a stage: its team, kernels and loaded model, KV blocks included. Called on that stage's
// own thread, all stages at once, so that memory is first touched, and threads are born, where they will be
// used.
using RankFactory = std::function<Result<RankRuntime>(int32_t stage_idx)>;

class Pipeline : public Executor {
 public:
  // Returns when every stage is ready to run, or with the first stage's error.
  static Result<std::unique_ptr<Pipeline>> Create(const PipelineOptions& options,
                                                  const RankFactory& make_rank);
  // Ends the steps that have begun, drops the others, joins the threads.
  ~Pipeline() override;

  int num_stages() const override { return options_.num_stages; }
  void Submit(std::unique_ptr<Step> step) override;
  std::unique_ptr<StepResult> Poll() override;
  FirstStageLoad FirstStage() const override;
  void SetNotify(std::function<void()> notify) override;
  void Cancel(SeqId seq) override;

 private:
  explicit Pipeline(const PipelineOptions& options);
  void StageLoop(int32_t stage_idx, const RankFactory& make_rank, BoundedQueue<Status>& ready);
  void Finish(StagePacket packet);
  void Notify();

  const PipelineOptions options_;
  CancelSet cancelled_;
  uint64_t last_submitted_ = 0;
  std::mutex notify_mutex_;
  std::shared_ptr<const std::function<void()>> notify_;              // GUARDED_BY(notify_mutex_)
  std::vector<std::unique_ptr<BoundedQueue<StagePacket>>> inboxes_;  // [num_stages]
  BoundedQueue<Buffer> free_hidden_;
  BoundedQueue<std::unique_ptr<StepResult>> results_;
  std::atomic<bool> stopping_{false};
  std::atomic<int32_t> first_stage_steps_{0};
  std::atomic<int64_t> first_stage_begin_us_{0};  // 0: it works on nothing
  std::vector<std::thread> threads_;
};

}  // namespace penstock
