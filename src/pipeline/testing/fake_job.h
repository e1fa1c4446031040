// For tests: the pipeline of one replica of a job of several processes, all of which are in this one, over
// fake models.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "comm/testing/fake_network.h"
#include "pipeline/stage_worker.h"
#include "pipeline/testing/fake_pipeline.h"

namespace penstock::testing {

class FakeJob {
 public:
  using MakeModel = std::function<std::unique_ptr<FakeModel>(const LayerRange& range, int32_t lane)>;

  explicit FakeJob(const ProcessMap& map, int32_t replica = 0, const MakeModel& make_model = {},
                   int64_t told_step_us = 1'000'000'000)
      : models(map.layout.ranks_per_replica()),
        map_(map),
        replica_(replica),
        make_model_(make_model),
        groups_(MakeLocalGroups(map.layout)) {
    EXPECT_TRUE(CheckProcessMap(map).ok());
    const int32_t first = replica * map.layout.ranks_per_replica();
    for (int32_t process = 0; process < map.num_processes; ++process) {
      endpoints_.push_back(
          network_.MakeEndpoint(process, [this](int, int, const Status& status) { AddError(status); }));
    }
    for (int32_t process = std::max(1, map.ProcessOf(first));
         process <= map.ProcessOf(first + map.layout.ranks_per_replica() - 1); ++process) {
      workers.push_back(StageWorker::Start(Remote(process), {.model = kOptions}, Ranks()).value());
    }
    PipelineOptions options;
    options.num_stages = map.layout.pp;
    options.num_lanes = map.layout.ranks_per_stage();
    options.model = kOptions;
    options.told_step_us = told_step_us;
    options.remote = Remote(0);
    executor = Pipeline::Create(options, Ranks()).value();
    executor->SetNotify([this] {
      std::lock_guard lock(mutex_);
      ++num_notified;
      wake_.notify_all();
    });
  }
  // In the order in which processes end: process 0 first.
  ~FakeJob() {
    executor.reset();
    for (const auto& worker : workers) worker->Wait();
    workers.clear();
    endpoints_.clear();
  }

  StepResult Next() {
    std::unique_ptr<StepResult> result;
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, std::chrono::seconds(20), [&] { return (result = executor->Poll()) != nullptr; });
    CHECK(result != nullptr) << "no result";
    return *result;
  }

  MessageEndpoint& endpoint(int process) { return *endpoints_[process]; }
  // What has been said to be wrong with what came.
  std::vector<Status> Errors() {
    std::lock_guard lock(mutex_);
    return errors_;
  }
  int64_t NumModelErrors() const {
    int64_t sum = 0;
    for (const FakeModel* const model : models) sum += static_cast<int64_t>(model->errors.size());
    return sum;
  }

  std::vector<FakeModel*> models;  // [ranks_per_replica]
  std::vector<std::unique_ptr<StageWorker>> workers;
  std::unique_ptr<Pipeline> executor;
  std::atomic<int> num_notified = 0;

 private:
  static constexpr ModelOptions kOptions = {.dtype = DType::kF32,
                                            .block_size = kBlockSize,
                                            .max_batched_tokens = 64,
                                            .max_model_len = 256,
                                            .max_logit_rows = 3};

  RemoteRanks Remote(int32_t process) {
    RemoteRanks remote;
    remote.endpoint = endpoints_[process].get();
    remote.map = map_;
    remote.process = process;
    remote.replica = replica_;
    remote.on_error = [this](const Status& status) { AddError(status); };
    return remote;
  }

  RankFactory Ranks() {
    return [this](int32_t stage, int32_t lane) -> Result<RankRuntime> {
      const LayerRange range{stage, stage + 1, stage == 0, stage + 1 == map_.layout.pp};
      auto model = make_model_ ? make_model_(range, lane) : std::make_unique<FakeModel>(range, kBlockSize);
      const int32_t idx = stage * map_.layout.ranks_per_stage() + lane;
      models[idx] = model.get();
      RankRuntime rank;
      rank.groups = std::move(groups_[replica_ * map_.layout.ranks_per_replica() + idx]);
      rank.team = std::make_unique<ThreadTeam>(1);
      rank.model = std::move(model);
      return rank;
    };
  }

  void AddError(const Status& status) {
    std::lock_guard lock(mutex_);
    errors_.push_back(status);
  }

  const ProcessMap map_;
  const int32_t replica_;
  const MakeModel make_model_;
  std::vector<RankGroups> groups_;  // of the world
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Status> errors_;  // GUARDED_BY(mutex_)
  FakeNetwork network_;
  std::vector<std::unique_ptr<MessageEndpoint>> endpoints_;
};

}  // namespace penstock::testing
