// SPDX-License-Identifier: Apache-2.0
#include "apps/engine_plan.h"

#include <algorithm>

#include "apps/auto_partition.h"
#include "apps/host_memory.h"
#include "base/affinity.h"
#include "base/json.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "model/check_share.h"
#include "pipeline/local_ranks.h"
#include "pipeline/rank_groups.h"
#include "plan/stage_partition.h"

namespace penstock {
namespace {

// Rows of the largest Logits() call: the sequences that end a chunk in one step, in pieces of at most 64.
constexpr int32_t kMaxLogitRows = 64;

// The longest sequence before memory is looked at.
Result<int32_t> ResolveMaxModelLen(const RunConfig& run, const ModelConfig& model) {
  const int32_t own = model.max_position_embeddings;
  if (!run.max_model_len || *run.max_model_len == -1) return own;
  if (*run.max_model_len > own && !run.allow_long_max_model_len) {
    return InvalidArgument(
        "--max-model-len: got {}, expected at most {}, the model's max_position_embeddings; to go beyond it "
        "set "
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1, if the model can do that",
        *run.max_model_len, own);
  }
  if (*run.max_model_len > std::numeric_limits<int32_t>::max()) {
    return InvalidArgument("--max-model-len: got {}, expected at most {}", *run.max_model_len,
                           std::numeric_limits<int32_t>::max());
  }
  return static_cast<int32_t>(*run.max_model_len);
}

// Of every rank of the world.
std::vector<LayerRange> MakeRanges(const EnginePlan& plan, const std::vector<int32_t>& layers) {
  const ParallelLayout& layout = plan.layout;
  std::vector<int32_t> begins = {0};
  for (const int32_t count : layers) begins.push_back(begins.back() + count);
  std::vector<LayerRange> ranges;
  for (int32_t rank = 0; rank < layout.world_size(); ++rank) {
    const int32_t stage = CoordsOf(layout, rank).pp;
    ranges.push_back(
        {begins[stage], begins[stage + 1], stage == 0, stage + 1 == layout.pp, ShareOf(layout, rank)});
    ranges.back().share.experts = plan.experts.get();
  }
  return ranges;
}

// Sets plan->ranges. The rest of the plan but memory is there.
Status CutLayers(const RunConfig& run, EnginePlan* plan) {
  const int32_t num_layers = plan->model.num_layers;
  if (run.layer_partition.empty() || run.layer_partition == kAutoPartition) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> layers, DefaultStagePartition(num_layers, run.layout.pp));
    plan->ranges = MakeRanges(*plan, layers);
  } else {
    ASSIGN_OR_RETURN(const std::vector<int32_t> layers,
                     ParseStagePartition(run.layer_partition, num_layers, run.layout.pp));
    plan->ranges = MakeRanges(*plan, layers);
  }
  if (run.layer_partition != kAutoPartition) return OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int32_t> layers, AutoPartition(run, *plan));
  plan->ranges = MakeRanges(*plan, layers);
  return OkStatus();
}

// Buffers of a lane that are the pipeline's own: the hidden states of the steps between stages, and the last
// stage's logits.
uint64_t LaneBytes(const EnginePlan& plan) {
  const uint64_t hidden_bytes = plan.model.hidden_dim * DTypeBytes(plan.options.dtype);
  const auto in_flight = static_cast<uint64_t>(NumHiddenBuffers(plan.layout.pp));
  const uint64_t logits_bytes = uint64_t{4} * plan.model.vocab_size + hidden_bytes;
  return in_flight * plan.options.max_batched_tokens * hidden_bytes +
         plan.options.max_logit_rows * logits_bytes;
}

Result<MemoryRequest> MakeMemoryRequest(const RunConfig& run, const EnginePlan& plan,
                                        const Kernels& kernels) {
  MemoryRequest request;
  for (size_t rank = 0; rank < plan.ranges.size(); ++rank) {
    if (plan.job != nullptr && !plan.job->IsHere(plan.job->map().ProcessOf(static_cast<int32_t>(rank)))) {
      continue;
    }
    const LayerRange& range = plan.ranges[rank];
    ASSIGN_OR_RETURN(const ModelMemory memory, EstimateModelMemory(plan.model, range, plan.options, kernels));
    const uint64_t lane_bytes = range.has_head ? LaneBytes(plan) : 0;
    request.ranks.push_back(
        {memory.weight_bytes, memory.activation_bytes + lane_bytes, memory.kv_block_bytes});
  }
  ASSIGN_OR_RETURN(const HostMemory host, ReadHostMemory());
  request.free_bytes = host.free_bytes;
  request.utilization = run.memory_utilization;
  request.block_size = run.block_size;
  request.max_num_seqs = run.max_num_seqs;
  request.max_model_len = plan.options.max_model_len;
  request.auto_max_model_len = run.max_model_len == -1;
  request.kv_cache_bytes = run.kv_cache_bytes;
  request.num_blocks = run.num_blocks;
  return request;
}

// Of processes that share cores, all ranks count.
Status CheckNumCores(const RunConfig& run, const EnginePlan& plan, size_t num_cores, size_t num_ranks) {
  if (plan.job != nullptr) {
    num_cores = plan.job->num_shared_cores();
    num_ranks *= static_cast<size_t>(plan.job->num_sharing_processes());
  }
  if (num_ranks <= num_cores || run.allow_oversubscription) return OkStatus();
  return InvalidArgument(
      "{} ranks ({}) on {} core{}: got more ranks than cores, expected at most as many; "
      "--allow-oversubscription starts them all the same",
      num_ranks, LayoutName(plan.layout), num_cores, num_cores == 1 ? "" : "s");
}

// Sets plan->experts. `placement`: the text of --expert-placement.
Status PlaceExperts(const RunConfig& run, const std::string& placement, EnginePlan* plan) {
  if (run.experts.placement_file.empty()) return OkStatus();
  if (plan->model.num_experts == 0) {
    return InvalidArgument("--expert-placement {}: the model has no experts", run.experts.placement_file);
  }
  if (!plan->layout.expert_parallel) return OkStatus();
  Result<ExpertPlacement> experts =
      ParseExpertPlacement(placement, run.experts.placement_file, plan->model,
                           ShareOf(plan->layout, 0).ep_size, run.experts.num_redundant);
  if (!experts.ok()) return experts.status().WithContext("--expert-placement");
  plan->experts = std::make_shared<const ExpertPlacement>(*std::move(experts));
  return OkStatus();
}

// Sets plan->layout and cores. The model is known.
Status PlanRanks(const RunConfig& run, EnginePlan* plan) {
  plan->layout = run.layout;
  if (plan->model.num_experts == 0) plan->layout.expert_parallel = false;
  RETURN_IF_ERROR(CheckShare(plan->model, ShareOf(plan->layout, 0)));
  const std::vector<int> cores = plan->job != nullptr ? plan->job->cores() : UsableCores();
  const auto num_ranks = static_cast<size_t>(plan->job != nullptr ? plan->job->map().ranks_per_process()
                                                                  : plan->layout.world_size());
  RETURN_IF_ERROR(CheckNumCores(run, *plan, cores.size(), num_ranks));
  plan->cores = AssignCores(cores, static_cast<int32_t>(num_ranks), run.threads_per_rank.value_or(0));
  if (plan->job == nullptr) return OkStatus();
  std::vector<std::vector<int>> all(plan->layout.world_size());  // the others' stay empty
  const int32_t first = plan->job->map().FirstRank(plan->job->process());
  std::ranges::move(plan->cores, all.begin() + first);
  plan->cores = std::move(all);
  return OkStatus();
}

// "0-3,8".
std::string FormatCores(const std::vector<int>& cores) {
  std::string text;
  for (size_t i = 0; i < cores.size();) {
    size_t end = i + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    text += fmt::format("{}{}", i == 0 ? "" : ",", cores[i]);
    if (end - i > 1) text += fmt::format("-{}", cores[end - 1]);
    i = end;
  }
  return text;
}

Status CheckKvDType(const EnginePlan& plan) {
  const DType dtype = plan.options.dtype, kv_dtype = plan.options.KvDType();
  if (kv_dtype == dtype) return OkStatus();
  if (kv_dtype != DType::kI8) {
    return InvalidArgument("--kv-cache-dtype {}: this model computes in {}; expected auto, {} or int8",
                           DTypeName(kv_dtype), DTypeName(dtype), DTypeName(dtype));
  }
  if (plan.model.kv_lora_rank > 0 && dtype != DType::kBF16) {
    return Unimplemented(
        "--kv-cache-dtype int8: latent attention has it beside --dtype bfloat16 only, got {}",
        DTypeName(dtype));
  }
  return OkStatus();
}

// Until memory is planned.
Status BeginPlan(const RunConfig& run, const std::string& placement, EnginePlan* plan) {
  ASSIGN_OR_RETURN(plan->model, ReadModelConfig(run.model_dir, run.quantization));
  const DType stored = plan->model.stored_dtype == DType::kF32 ? DType::kF32 : DType::kBF16;
  plan->options.dtype = run.dtype.value_or(stored);
  plan->options.kv_dtype = run.kv_dtype;
  RETURN_IF_ERROR(CheckKvDType(*plan));
  ASSIGN_OR_RETURN(plan->options.max_model_len, ResolveMaxModelLen(run, plan->model));
  plan->options.block_size = run.block_size;
  const int64_t most_tokens = int64_t{run.max_num_seqs} * plan->options.max_model_len;
  plan->options.max_batched_tokens =
      static_cast<int32_t>(std::min<int64_t>(run.max_num_batched_tokens, most_tokens));
  plan->options.max_logit_rows =
      std::min({run.max_num_seqs, plan->options.max_batched_tokens, kMaxLogitRows});
  RETURN_IF_ERROR(PlanRanks(run, plan));
  return PlaceExperts(run, placement, plan);
}

Status PlanLayersAndMemory(const RunConfig& run, EnginePlan* plan) {
  ThreadTeam team(1);  // kernels are made only to be asked for their name and for sizes
  ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> kernels, MakeKernelsByName(run.kernel_isa, team));
  plan->kernels = kernels->name();
  RETURN_IF_ERROR(CutLayers(run, plan));
  ASSIGN_OR_RETURN(const MemoryRequest request, MakeMemoryRequest(run, *plan, *kernels));
  ASSIGN_OR_RETURN(plan->memory, PlanMemory(request));
  plan->free_bytes = request.free_bytes;
  return OkStatus();
}

// Process 0's layers, and as many blocks as every machine has room for.
Status PlanInJob(RunConfig run, EnginePlan* plan) {
  Job& job = *plan->job;
  Status status = job.leads() ? PlanLayersAndMemory(run, plan) : OkStatus();
  RETURN_IF_ERROR(job.Share(status));
  std::string layers;
  if (job.leads()) {
    for (int32_t stage = 0; stage < plan->layout.pp; ++stage) {
      const LayerRange& range = plan->ranges[plan->Leader(static_cast<size_t>(stage))];
      layers += (stage == 0 ? "" : ",") + std::to_string(range.last_layer - range.first_layer);
    }
  }
  run.layer_partition = job.FromLeader(layers);
  if (!job.leads()) status = PlanLayersAndMemory(run, plan);
  RETURN_IF_ERROR(job.Share(status));
  plan->memory.num_blocks = static_cast<int32_t>(job.Min(plan->memory.num_blocks));
  plan->memory.max_model_len = static_cast<int32_t>(job.Min(plan->memory.max_model_len));
  return OkStatus();
}

// What --expert-placement names. Of a job, process 0's file: all processes must have the same placement.
Result<std::string> ReadPlacement(const RunConfig& run, Job* job) {
  Result<std::string> text = std::string();
  if (!run.experts.placement_file.empty() && (job == nullptr || job->leads())) {
    text = ReadTextFile(run.experts.placement_file);
    if (!text.ok()) text = text.status().WithContext("--expert-placement");
  }
  if (job == nullptr) return text;
  RETURN_IF_ERROR(job->Share(text.ok() ? OkStatus() : text.status()));
  return job->FromLeader(*text);
}

}  // namespace

Result<EnginePlan> PlanEngine(const RunConfig& run, Job* job) {
  EnginePlan plan;
  plan.job = job;
  ASSIGN_OR_RETURN(const std::string placement, ReadPlacement(run, job));
  const Status begun = BeginPlan(run, placement, &plan);
  if (job == nullptr) {
    RETURN_IF_ERROR(begun);
    RETURN_IF_ERROR(PlanLayersAndMemory(run, &plan));
  } else {
    RETURN_IF_ERROR(job->Share(begun));
    RETURN_IF_ERROR(PlanInJob(run, &plan));
  }
  plan.options.max_model_len = plan.memory.max_model_len;
  return plan;
}

ReplicaRanks RanksOfReplica(const EnginePlan& plan, int32_t dp_idx) {
  const auto begin = static_cast<ptrdiff_t>(dp_idx) * plan.layout.ranks_per_replica();
  const ptrdiff_t end = begin + plan.layout.ranks_per_replica();
  return {{plan.ranges.begin() + begin, plan.ranges.begin() + end},
          {plan.cores.begin() + begin, plan.cores.begin() + end}};
}

namespace {

// A rank's cores, or its process.
std::string WhereIs(const EnginePlan& plan, size_t rank) {
  if (!plan.cores[rank].empty()) return FormatCores(plan.cores[rank]);
  const int process = plan.job->map().ProcessOf(static_cast<int32_t>(rank));
  return fmt::format("of process {} on {}", process, plan.job->host(process));
}

}  // namespace

std::string FormatStage(const EnginePlan& plan, size_t stage) {
  const size_t leader = plan.Leader(stage), end = plan.Leader(stage + 1);
  const LayerRange& range = plan.ranges[leader];
  std::string text = fmt::format("layers {}-{}, ", range.first_layer, range.last_layer - 1);
  if (end - leader > 1) text += fmt::format("ranks {}-{}, ", leader, end - 1);
  text += end - leader == 1 && plan.cores[leader].size() == 1 ? "core" : "cores";
  for (size_t rank = leader; rank < end; ++rank) {
    text += (rank == leader ? " " : "; ") + WhereIs(plan, rank);
  }
  return text;
}

std::string FormatPipeline(const EnginePlan& plan) {
  const int32_t num_stages = plan.layout.pp, num_ranks = plan.layout.ranks_per_stage();
  std::string text = fmt::format("Pipeline of {}", num_stages);
  if (num_ranks > 1) {
    text += fmt::format(" stage{} x {} ranks ({})", num_stages == 1 ? "" : "s", num_ranks,
                        LayoutName(plan.layout));
  }
  for (int32_t stage = 0; stage < num_stages; ++stage) {
    text += fmt::format("{}stage {}: {}", stage == 0 ? ": " : "; ", stage,
                        FormatStage(plan, static_cast<size_t>(stage)));
  }
  return text;
}

}  // namespace penstock
