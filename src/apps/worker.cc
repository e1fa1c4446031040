// SPDX-License-Identifier: Apache-2.0
#include "apps/worker.h"

#include <utility>

#include "apps/engine_plan.h"
#include "apps/rank_setup.h"
#include "base/log.h"
#include "pipeline/stage_worker.h"

namespace penstock {
namespace {

Status Work(const RunConfig& run, Job& job) {
  ASSIGN_OR_RETURN(const EnginePlan plan, PlanEngine(run, &job));
  const int32_t replica = job.map().FirstRank(job.process()) / plan.layout.ranks_per_replica();
  std::vector<std::vector<RankGroups>> groups = MakeGroupsOfReplicas(plan);
  const StageWorkerOptions options{.model = plan.options, .run_empty_steps = InLockStep(plan)};
  Result<std::unique_ptr<StageWorker>> worker = StageWorker::Start(
      job.Remote(replica), options,
      MakeLocalRankFactory(MakeLocalRanks(run, plan, replica, std::move(groups[replica]))));
  RETURN_IF_ERROR(job.Share(worker.ok() ? OkStatus() : worker.status()));
  LogInfo("Process {} is ready.", job.process());
  (*worker)->Wait();
  job.Done();
  return OkStatus();
}

}  // namespace

int RunWorker(CommandSetup& setup) {
  const Status status = Work(setup.run, *setup.job);
  if (!status.ok()) LogDebug("{}", status.message());
  return status.ok() ? kExitDone : ExitCodeOf(status);
}

}  // namespace penstock
