// SPDX-License-Identifier: Apache-2.0
#include "apps/bench_policies.h"

#include <memory>
#include <vector>

#include "apps/shared_executor.h"
#include "base/check.h"

namespace penstock {
namespace {

struct Contestant {
  std::unique_ptr<SharedExecutor> executor;
  std::unique_ptr<Engine> engine;  // destroyed before its executor
};

}  // namespace

Result<PolicyReport> MeasurePolicies(const RunConfig& run, const LoadedModel& model, const PipelineCost& cost,
                                     const BenchOptions& options, int64_t num_warmup, int64_t num_iters) {
  CHECK(!run.enable_prefix_caching && options.batch_size == 1);
  PolicyReport report;
  report.input_len = options.input_len;
  report.cost = cost.model;
  std::vector<Contestant> contestants;
  for (ChunkPolicy policy : run.chunk_policies) {
    Contestant& contestant = contestants.emplace_back();
    contestant.executor = std::make_unique<SharedExecutor>(*model.pipeline);
    ASSIGN_OR_RETURN(contestant.engine, MakeEngineOver(run, model, *contestant.executor, policy, cost));
    report.policies.push_back({.policy = std::string(ChunkPolicyName(policy)), .samples = {}, .cost = {}});
  }
  for (int64_t round = 0; round < num_warmup + num_iters; ++round) {
    const std::vector<Request> requests =
        MakeBenchRequests(options, model.plan.model.vocab_size, static_cast<uint32_t>(round));
    for (size_t i = 0; i < contestants.size(); ++i) {
      contestants[i].executor->Activate();
      PolicyMeasurement& measured = report.policies[i];
      if (round == num_warmup) measured.cost = contestants[i].engine->Stats().cost;
      ASSIGN_OR_RETURN(LatencySample sample, RunBenchIteration(*contestants[i].engine, requests));
      if (round >= num_warmup) measured.samples.push_back(std::move(sample));
    }
  }
  return report;
}

}  // namespace penstock
