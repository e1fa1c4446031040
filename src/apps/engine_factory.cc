// SPDX-License-Identifier: Apache-2.0
#include "apps/engine_factory.h"

#include <future>
#include <iterator>

#include "apps/build_id.h"
#include "apps/planner_setup.h"
#include "apps/progress.h"
#include "apps/rank_setup.h"
#include "apps/sequence_parallel.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_config.h"
#include "engine/replica_engine.h"
#include "engine/text_stream.h"
#include "engine/threaded_engine.h"
#include "pipeline/local_ranks.h"
#include "pipeline/lock_step.h"
#include "pipeline/pipeline.h"
#include "sched/sip_hash.h"

namespace penstock {
namespace {

constexpr double kMicrosPerSecond = 1e6;
constexpr double kGiB = 1 << 30;

EngineConfig MakeEngineConfig(const RunConfig& run, const EnginePlan& plan) {
  EngineConfig config;
  config.scheduler.max_num_batched_tokens = plan.options.max_batched_tokens;
  config.scheduler.max_num_seqs = run.max_num_seqs;
  config.scheduler.block_size = run.block_size;
  config.scheduler.num_blocks = plan.memory.num_blocks;
  config.scheduler.max_model_len = plan.options.max_model_len;
  config.scheduler.num_stages = run.layout.pp;
  config.scheduler.long_prefill_token_threshold = run.long_prefill_token_threshold;
  config.scheduler.enable_prefix_caching = run.enable_prefix_caching;
  config.scheduler.policy = run.scheduling_policy;
  config.scheduler.prefix_hash_key = RandomSipKey();
  config.vocab_size = plan.model.vocab_size;
  config.eos_token_ids = plan.model.eos_token_ids;
  config.max_logprobs = run.max_logprobs == -1 ? plan.model.vocab_size : run.max_logprobs;
  config.seed = static_cast<uint64_t>(run.seed);
  config.max_num_queued_reqs = run.max_num_queued_reqs.value_or(0);
  config.max_num_queued_tokens = run.max_num_queued_tokens.value_or(0);
  config.log_interval_us = static_cast<int64_t>(run.log_stats_interval_s * kMicrosPerSecond);
  return config;
}

// `groups`: of the replica's ranks.
Result<std::unique_ptr<Pipeline>> LoadPipeline(const RunConfig& run, const EnginePlan& plan,
                                               int32_t replica_idx, std::vector<RankGroups> groups,
                                               const std::vector<std::unique_ptr<OpProfile>>& profiles) {
  LogInfo("Starting to load model {}...", run.model_dir);
  if (plan.model.weight_types != nullptr) LogInfo("{}", plan.model.weight_types->Summary());
  if (plan.model.quantise_weights) LogInfo("Weights are made 8-bit integers as they are loaded");
  const int64_t begin_us = NowUs();
  PipelineOptions options;
  options.num_stages = plan.layout.pp;
  options.num_lanes = plan.layout.ranks_per_stage();
  options.model = plan.options;
  if (plan.job != nullptr) options.remote = plan.job->Remote(replica_idx);
  if (InLockStep(plan)) {
    options.told_step_us = 0;
    options.run_empty_steps = true;
  }
  Result<std::unique_ptr<Pipeline>> pipeline = [&] {
    Progress progress("Loading weights");
    LocalRanksOptions ranks = MakeLocalRanks(run, plan, replica_idx, std::move(groups));
    for (const auto& profile : profiles) ranks.profiles.push_back(profile.get());
    ranks.progress = [&progress](size_t done, size_t total) { progress.Update(done, total); };
    return Pipeline::Create(options, MakeLocalRankFactory(std::move(ranks)));
  }();
  if (!pipeline.ok()) return pipeline;
  const double seconds = static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond;
  LogInfo("Loading weights took {:.2f} seconds", seconds);
  LogInfo("Model loading took {:.2f} GiB memory and {:.6f} seconds",
          static_cast<double>(plan.memory.weight_bytes) / kGiB, seconds);
  return pipeline;
}

// One for each replica, when all ranks are there. `profiles` are taken of the first.
Result<std::vector<std::unique_ptr<Pipeline>>> LoadPipelines(
    const RunConfig& run, const EnginePlan& plan, const std::vector<std::unique_ptr<OpProfile>>& profiles) {
  std::vector<std::vector<RankGroups>> groups = MakeGroupsOfReplicas(plan);
  const std::vector<std::unique_ptr<OpProfile>> none;
  std::vector<std::unique_ptr<Pipeline>> pipelines;
  Status status;
  for (int32_t i = 0; i < plan.layout.dp && status.ok(); ++i) {
    if (plan.layout.dp > 1) LogInfo("Replica {} of {}:", i, plan.layout.dp);
    Result<std::unique_ptr<Pipeline>> pipeline =
        LoadPipeline(run, plan, i, std::move(groups[i]), i == 0 ? profiles : none);
    if (pipeline.ok()) {
      pipelines.push_back(*std::move(pipeline));
    } else {
      status = pipeline.status();
    }
  }
  if (plan.job != nullptr) status = plan.job->Share(status);
  RETURN_IF_ERROR(status);
  return pipelines;
}

// `replicas` become the pipelines behind the executors.
Result<std::vector<std::unique_ptr<Executor>>> LoadReplicas(
    const RunConfig& run, const EnginePlan& plan, const std::vector<std::unique_ptr<OpProfile>>& profiles,
    std::vector<const Pipeline*>* replicas) {
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Pipeline>> pipelines, LoadPipelines(run, plan, profiles));
  std::vector<Pipeline*> all;
  for (const auto& pipeline : pipelines) all.push_back(pipeline.get());
  replicas->assign(all.begin(), all.end());
  if (plan.job != nullptr) {
    // Every request ends with that, and no later one begins.
    plan.job->OnLost([all](const Status& status) {
      for (Pipeline* const pipeline : all) pipeline->Fail(status);
    });
  }
  std::vector<std::unique_ptr<Executor>> executors(std::make_move_iterator(pipelines.begin()),
                                                   std::make_move_iterator(pipelines.end()));
  if (InLockStep(plan)) {
    LogInfo("Experts are spread over {} replicas: they run in lock step", plan.layout.dp);
    executors = MakeLockStep(std::move(executors));
  }
  std::vector<Executor*> views;
  for (const auto& executor : executors) views.push_back(executor.get());
  RETURN_IF_ERROR(ChooseSequenceParallel(run, plan, all, views));
  return executors;
}

void LogKvCache(const EnginePlan& plan) {
  const int32_t block_size = plan.options.block_size;
  const int64_t tokens = int64_t{plan.memory.num_blocks} * block_size;
  LogInfo("Available KV cache memory: {:.2f} GiB", static_cast<double>(plan.memory.kv_bytes) / kGiB);
  LogInfo("GPU KV cache size: {} tokens, Maximum concurrency for {} tokens per request: {:.2f}x",
          FormatCount(tokens), FormatCount(plan.options.max_model_len),
          MaxConcurrency(plan.memory, block_size));
}

}  // namespace

Result<LoadedModel> LoadModelForEngine(const RunConfig& run, EnginePlan plan) {
  LoadedModel loaded;
  loaded.plan = std::move(plan);
  // The tokenizer is read beside the weights: both take about as long for a small model.
  auto tokenizer = std::async(std::launch::async, [&run] { return Tokenizer::Load(run.tokenizer_dir); });
  if (run.profile_ops) {
    for (int32_t i = 0; i < loaded.plan.layout.pp; ++i)
      loaded.profiles.push_back(std::make_unique<OpProfile>());
  }
  ASSIGN_OR_RETURN(std::vector<std::unique_ptr<Executor>> pipelines,
                   LoadReplicas(run, loaded.plan, loaded.profiles, &loaded.replicas));
  loaded.pipeline = std::move(pipelines[0]);
  loaded.more_pipelines.assign(std::make_move_iterator(pipelines.begin() + 1),
                               std::make_move_iterator(pipelines.end()));
  ASSIGN_OR_RETURN(loaded.tokenizer, tokenizer.get());
  if (loaded.tokenizer->vocab_size() > loaded.plan.model.vocab_size) {
    LogWarning("the tokenizer has {} tokens, the model {}: prompts with the others are refused",
               loaded.tokenizer->vocab_size(), loaded.plan.model.vocab_size);
  }
  LogKvCache(loaded.plan);
  loaded.texts = std::make_unique<TextStreamFactory>(*loaded.tokenizer);
  return loaded;
}

Result<std::unique_ptr<Engine>> MakeEngineOver(const RunConfig& run, const LoadedModel& model,
                                               Executor& executor, ChunkPolicy policy,
                                               const PipelineCost& cost, int32_t replica) {
  const PlannerOptions options = MakePlannerOptions(run, model.plan, policy);
  if (cost.model.known() && replica == 0) {
    const std::string line = ConstraintsLine(options, cost.model, model.plan.options.max_model_len);
    if (!line.empty()) LogInfo("{}", line);
  }
  EngineConfig config = MakeEngineConfig(run, model.plan);
  config.engine_idx = replica;
  config.num_engines = model.plan.layout.dp;
  config.measure_cost = true;
  config.cost_grid = cost.grid;
  config.cost_prior = cost.model;
  return MakeEngine(config, executor, *model.texts, MakeChunkPlanner(options));
}

namespace {

Result<std::unique_ptr<Engine>> MakeReplicas(const RunConfig& run, const LoadedModel& model,
                                             const PipelineCost& cost) {
  std::vector<std::unique_ptr<Engine>> engines;
  for (int32_t i = 0; i < model.plan.layout.dp; ++i) {
    Executor& pipeline = i == 0 ? *model.pipeline : *model.more_pipelines[i - 1];
    ASSIGN_OR_RETURN(std::unique_ptr<Engine> engine,
                     MakeEngineOver(run, model, pipeline, run.chunk_policies[0], cost, i));
    engines.push_back(std::move(engine));
  }
  return MakeReplicaEngine(std::move(engines), run.enable_prefix_caching);
}

}  // namespace

Result<RunningEngine> StartEngine(const RunConfig& run, EnginePlan plan) {
  const int64_t begin_us = NowUs();
  RunningEngine running;
  ASSIGN_OR_RETURN(static_cast<LoadedModel&>(running), LoadModelForEngine(run, std::move(plan)));
  ASSIGN_OR_RETURN(running.cost, ObtainPipelineCost(run, running.plan, *running.pipeline));
  for (const Pipeline* const replica : running.replicas) running.measured.push_back(replica->Counters());
  ASSIGN_OR_RETURN(running.engine, MakeReplicas(run, running, running.cost));
  if (Job* const job = running.plan.job; job != nullptr) {
    running.stall_watch = std::make_unique<StallWatch>(
        *running.engine, [job](const Status& stall) { job->End(Unavailable("{}", stall.message())); });
  }
  if (!run.trace_file.empty()) running.engine->StartTrace();
  LogInfo("init engine (load weights, create kv cache) took {:.2f} s",
          static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond);
  return running;
}

}  // namespace penstock
