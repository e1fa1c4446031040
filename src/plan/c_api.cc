// The C ABI of costs and plans.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/c_api.h"

#include <cmath>

#include "plan/c_api_support.h"
#include "plan/cost_fit.h"

namespace penstock {
namespace {

constexpr size_t kMostStages = 4096;

StageCost FromC(const penstock_stage_cost& c) {
  return {.step_us = c.step_us,
          .token_us = c.token_us,
          .floor_us = c.floor_us,
          .pair_us = c.pair_us,
          .history_us = c.history_us,
          .seq_us = c.seq_us,
          .decode_token_us = c.decode_token_us,
          .decode_context_us = c.decode_context_us};
}

penstock_stage_cost ToC(const StageCost& cost) {
  return {sizeof(penstock_stage_cost),
          cost.step_us,
          cost.token_us,
          cost.floor_us,
          cost.pair_us,
          cost.history_us,
          cost.seq_us,
          cost.decode_token_us,
          cost.decode_context_us};
}

Status CheckNumStages(size_t num_stages) {
  if (num_stages >= 1 && num_stages <= kMostStages) return OkStatus();
  return InvalidArgument("num_stages is {}, expected 1 to {}", num_stages, kMostStages);
}

// Element `idx` of an array whose elements have the caller's size.
Result<StageCost> ReadStage(const penstock_stage_cost* stages, size_t idx) {
  const char* bytes = reinterpret_cast<const char*>(stages);
  const auto* stage = reinterpret_cast<const penstock_stage_cost*>(bytes + idx * stages->struct_size);
  const std::string name = fmt::format("stage {}", idx);
  ASSIGN_OR_RETURN(const penstock_stage_cost read, ReadSized(stage, name.c_str()));
  if (read.struct_size != stages->struct_size) {
    return InvalidArgument("{}: struct_size is {}, expected {} as of stage 0", name, read.struct_size,
                           stages->struct_size);
  }
  const StageCost cost = FromC(read);
  if (!cost.IsSound()) return InvalidArgument("{}: costs must be finite, >= 0 and not all 0", name);
  return cost;
}

Result<PlanLimits> ReadLimits(const penstock_plan_limits* given, int64_t len) {
  ASSIGN_OR_RETURN(const penstock_plan_limits c, ReadSized(given, "limits"));
  const PlanLimits limits = {.align = c.align == 0 ? 1 : c.align,
                             .min_chunk = c.min_chunk == 0 ? 1 : c.min_chunk,
                             .max_chunk = c.max_chunk,
                             .max_step_us = c.max_step_us};
  if (limits.align < 0) return InvalidArgument("limits: align is {}, expected >= 0", c.align);
  if (limits.min_chunk < 0) return InvalidArgument("limits: min_chunk is {}, expected >= 0", c.min_chunk);
  if (limits.max_chunk < std::max(limits.align, limits.min_chunk)) {
    return InvalidArgument("limits: max_chunk is {}, expected at least align ({}) and min_chunk ({})",
                           limits.max_chunk, limits.align, limits.min_chunk);
  }
  RETURN_IF_ERROR(CheckNumChunks(len, limits.max_chunk));
  if (!std::isfinite(limits.max_step_us) || limits.max_step_us < 0) {
    return InvalidArgument("limits: max_step_us is {}, expected >= 0", limits.max_step_us);
  }
  return limits;
}

Status MakeWhole(const penstock_whole_cost* given, const double* shares, size_t num_stages,
                 CostModel* model) {
  ASSIGN_OR_RETURN(const penstock_whole_cost c, ReadSized(given, "whole"));
  RETURN_IF_ERROR(CheckNumStages(num_stages));
  std::vector<double> weights(num_stages, 1.0);
  if (shares != nullptr) weights.assign(shares, shares + num_stages);
  for (double weight : weights) {
    if (!(std::isfinite(weight) && weight > 0)) return InvalidArgument("share of {}: expected > 0", weight);
  }
  *model = MakeWeightedCost(
      {.alpha = c.alpha, .beta = c.beta, .gamma = c.gamma, .floor = c.floor, .d0 = c.d0}, weights);
  for (const StageCost& stage : model->stages) {
    if (!stage.IsSound()) return InvalidArgument("whole: costs must be finite, >= 0 and not all 0");
  }
  return OkStatus();
}

Result<CostSample> ReadSample(const penstock_sample& sample) {
  ASSIGN_OR_RETURN(const std::vector<ChunkShape> chunks, ReadChunks(sample.chunks, sample.num_chunks));
  if (!std::isfinite(sample.weight) || sample.weight < 0) {
    return InvalidArgument("weight is {}, expected >= 0", sample.weight);
  }
  return CostSample{
      .work = WorkOf(chunks), .time_us = sample.time_us, .weight = sample.weight == 0 ? 1 : sample.weight};
}

Status FitStage(const penstock_sample* samples, size_t num_samples, const penstock_stage_cost* prior,
                penstock_stage_cost* result, penstock_fit_quality* quality) {
  if (num_samples > 0) RETURN_IF_ERROR(CheckPointer(samples, "samples"));
  std::vector<CostSample> read;
  for (size_t i = 0; i < num_samples; ++i) {
    Result<CostSample> sample = ReadSample(samples[i]);
    if (!sample.ok()) return sample.status().WithContext(fmt::format("sample {}", i));
    read.push_back(*sample);
  }
  StageCost before;
  if (prior != nullptr) {
    ASSIGN_OR_RETURN(before, ReadStage(prior, 0));
  }
  const StageFit fit = FitStageCost(read, before);
  RETURN_IF_ERROR(WriteSized(ToC(fit.cost), result, "result"));
  if (quality == nullptr) return OkStatus();
  const penstock_fit_quality found = {sizeof(found), fit.quality.median_error, fit.quality.p90_error,
                                      fit.quality.num_samples, fit.ok};
  return WriteSized(found, quality, "quality");
}

}  // namespace
}  // namespace penstock

using namespace penstock;  // the rest is the ABI: in no namespace itself

extern "C" {

uint32_t penstock_plan_api_version(void) { return PENSTOCK_PLAN_API_VERSION; }

// ---- What a step takes ---------------------------------------------------------------

penstock_status penstock_cost_create(const penstock_stage_cost* stages, size_t num_stages,
                                     penstock_cost** cost, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckNumStages(num_stages));
    RETURN_IF_ERROR(CheckPointer(stages, "stages"));
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    auto made = std::make_unique<penstock_cost>();
    for (size_t i = 0; i < num_stages; ++i) {
      ASSIGN_OR_RETURN(const StageCost stage, ReadStage(stages, i));
      made->model.stages.push_back(stage);
    }
    *cost = made.release();
    return OkStatus();
  });
}

penstock_status penstock_cost_create_whole(const penstock_whole_cost* whole, const double* shares,
                                           size_t num_stages, penstock_cost** cost, char* error,
                                           size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    auto made = std::make_unique<penstock_cost>();
    RETURN_IF_ERROR(MakeWhole(whole, shares, num_stages, &made->model));
    *cost = made.release();
    return OkStatus();
  });
}

void penstock_cost_destroy(penstock_cost* cost) { delete cost; }

size_t penstock_cost_num_stages(const penstock_cost* cost) {
  return cost == nullptr ? 0 : cost->model.stages.size();
}

penstock_status penstock_cost_stage(const penstock_cost* cost, size_t stage, penstock_stage_cost* result,
                                    char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    if (stage >= cost->model.stages.size()) {
      return InvalidArgument("stage {}: there are {}", stage, cost->model.stages.size());
    }
    return WriteSized(ToC(cost->model.stages[stage]), result, "result");
  });
}

penstock_status penstock_cost_predict(const penstock_cost* cost, const penstock_chunk* chunks,
                                      size_t num_chunks, double* stage_us, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    RETURN_IF_ERROR(CheckPointer(stage_us, "stage_us"));
    ASSIGN_OR_RETURN(const std::vector<ChunkShape> shapes, ReadChunks(chunks, num_chunks));
    const StepWork work = WorkOf(shapes);
    for (size_t s = 0; s < cost->model.stages.size(); ++s) stage_us[s] = cost->model.stages[s].Predict(work);
    return OkStatus();
  });
}

penstock_status penstock_fit_stage(const penstock_sample* samples, size_t num_samples,
                                   const penstock_stage_cost* prior, penstock_stage_cost* result,
                                   penstock_fit_quality* quality, char* error, size_t error_size) {
  return Guarded(error, error_size, [&] { return FitStage(samples, num_samples, prior, result, quality); });
}

// ---- A prompt's chunks ---------------------------------------------------------------

size_t penstock_plan_num_chunks(const penstock_plan* plan) {
  return plan == nullptr ? 0 : plan->plan.chunks.size();
}
const int32_t* penstock_plan_chunks(const penstock_plan* plan) {
  return plan == nullptr ? nullptr : plan->plan.chunks.data();
}
double penstock_plan_makespan_us(const penstock_plan* plan) {
  return plan == nullptr ? 0 : plan->plan.makespan_us;
}
double penstock_plan_target_us(const penstock_plan* plan) {
  return plan == nullptr ? 0 : plan->plan.target_us;
}
void penstock_plan_destroy(penstock_plan* plan) { delete plan; }

penstock_status penstock_plan_prompt(const penstock_cost* cost, int64_t pos, int64_t len,
                                     const penstock_plan_limits* limits, penstock_plan** plan, char* error,
                                     size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckCost(cost));
    RETURN_IF_ERROR(CheckPointer(plan, "plan"));
    RETURN_IF_ERROR(CheckSpan(pos, len));
    ASSIGN_OR_RETURN(const PlanLimits read, ReadLimits(limits, len));
    *plan = new penstock_plan{PlanPrompt(cost->model, pos, len, read)};
    return OkStatus();
  });
}

penstock_status penstock_next_equal_chunk(const penstock_cost* cost, int64_t pos, int64_t len,
                                          double target_us, const penstock_plan_limits* limits,
                                          int32_t* chunk, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckCost(cost));
    RETURN_IF_ERROR(CheckPointer(chunk, "chunk"));
    RETURN_IF_ERROR(CheckSpan(pos, len));
    if (!(std::isfinite(target_us) && target_us > 0)) {
      return InvalidArgument("target_us is {}, expected > 0", target_us);
    }
    ASSIGN_OR_RETURN(const PlanLimits read, ReadLimits(limits, len));
    *chunk = NextEqualChunk(cost->model, pos, len, target_us, read);
    return OkStatus();
  });
}

penstock_status penstock_makespan(const penstock_cost* cost, int64_t pos, const int32_t* chunks,
                                  size_t num_chunks, double* makespan_us, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    RETURN_IF_ERROR(CheckPointer(chunks, "chunks"));
    RETURN_IF_ERROR(CheckPointer(makespan_us, "makespan_us"));
    int64_t end = pos;
    for (size_t i = 0; i < num_chunks; ++i) {
      RETURN_IF_ERROR(CheckSpan(end, chunks[i]));
      end += chunks[i];
    }
    *makespan_us = Makespan(cost->model, pos, {chunks, num_chunks});
    return OkStatus();
  });
}

penstock_status penstock_ideal(const penstock_cost* cost, int64_t pos, int64_t len, double* ideal_us,
                               char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(cost, "cost"));
    RETURN_IF_ERROR(CheckPointer(ideal_us, "ideal_us"));
    RETURN_IF_ERROR(CheckSpan(pos, len));
    *ideal_us = IdealUs(cost->model, pos, len);
    return OkStatus();
  });
}

}  // extern "C"
