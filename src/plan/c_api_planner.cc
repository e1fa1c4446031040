// The C ABI of policies.
//
// SPDX-License-Identifier: Apache-2.0
#include "plan/c_api.h"
#include "plan/c_api_support.h"
#include "plan/make_chunk_planner.h"
#include "plan/policy_replay.h"

namespace penstock {
namespace {

Result<PlannerOptions> ReadOptions(const penstock_planner_options* given) {
  ASSIGN_OR_RETURN(const penstock_planner_options c, ReadSized(given, "options"));
  PlannerOptions options;
  if (c.policy != nullptr) {
    ASSIGN_OR_RETURN(options.policy, ParseChunkPolicy(c.policy));
  }
  options.max_tokens = c.max_tokens;
  options.block_size = c.block_size;
  if (c.tile != 0) options.tile = c.tile;
  options.max_model_len = c.max_model_len;
  options.max_step_us = c.max_step_us;
  if (c.smooth_factor != 0) options.smooth_factor = c.smooth_factor;
  if (c.min_chunk != 0) options.min_chunk = c.min_chunk;
  if (c.max_fit_chunk != 0) options.max_fit_chunk = c.max_fit_chunk;
  options.need_timing = c.no_timing == 0;
  options.release_behaviour = c.release_behaviour != 0;
  options.fixed_target_us = c.fixed_target_us;
  RETURN_IF_ERROR(ValidatePlannerOptions(options));
  return options;
}

Result<std::vector<PrefillDemand>> ReadDemands(const penstock_demand* demands, size_t num_demands) {
  if (num_demands > 0) RETURN_IF_ERROR(CheckPointer(demands, "prefills"));
  std::vector<PrefillDemand> read;
  for (size_t i = 0; i < num_demands; ++i) {
    const penstock_demand& c = demands[i];
    const Status valid = CheckSpan(c.pos, c.remaining);
    if (!valid.ok()) return valid.WithContext(fmt::format("prefill {}", i));
    read.push_back({.seq = c.seq, .pos = c.pos, .remaining = c.remaining, .is_running = c.is_running != 0});
  }
  return read;
}

Status CheckPlanner(const penstock_planner* planner) { return CheckPointer(planner, "planner"); }

}  // namespace
}  // namespace penstock

using namespace penstock;  // the rest is the ABI: in no namespace itself

extern "C" {

penstock_status penstock_planner_create(const penstock_planner_options* options, penstock_planner** planner,
                                        char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPointer(planner, "planner"));
    ASSIGN_OR_RETURN(const PlannerOptions read, ReadOptions(options));
    *planner = new penstock_planner{MakeChunkPlanner(read), std::string(ChunkPolicyName(read.policy)), false};
    return OkStatus();
  });
}

void penstock_planner_destroy(penstock_planner* planner) { delete planner; }

const char* penstock_planner_policy(const penstock_planner* planner) {
  return planner == nullptr ? "" : planner->policy.c_str();
}

penstock_status penstock_planner_set_cost(penstock_planner* planner, const penstock_cost* cost, char* error,
                                          size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPlanner(planner));
    RETURN_IF_ERROR(CheckCost(cost));
    planner->planner->SetCost(cost->model);
    return OkStatus();
  });
}

penstock_status penstock_planner_begin_step(penstock_planner* planner, const penstock_demand* prefills,
                                            size_t num_prefills, const penstock_chunk* step_chunks,
                                            size_t num_step_chunks, int32_t steps_in_flight,
                                            int32_t max_tokens, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPlanner(planner));
    ASSIGN_OR_RETURN(const std::vector<PrefillDemand> demands, ReadDemands(prefills, num_prefills));
    ASSIGN_OR_RETURN(const std::vector<ChunkShape> shapes, ReadChunks(step_chunks, num_step_chunks));
    if (steps_in_flight < 0 || max_tokens < 1) {
      return InvalidArgument("steps_in_flight is {} and max_tokens {}, expected >= 0 and >= 1",
                             steps_in_flight, max_tokens);
    }
    planner->step_begun = !demands.empty();
    if (demands.empty()) return OkStatus();
    planner->planner->BeginStep({.prefills = demands,
                                 .step_chunks = shapes,
                                 .steps_in_flight = steps_in_flight,
                                 .max_tokens = max_tokens});
    return OkStatus();
  });
}

penstock_status penstock_planner_next_chunk(penstock_planner* planner, uint64_t seq, int32_t pos,
                                            int32_t remaining, int32_t max_len,
                                            const penstock_chunk* step_chunks, size_t num_step_chunks,
                                            int32_t* len, char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPlanner(planner));
    RETURN_IF_ERROR(CheckPointer(len, "len"));
    RETURN_IF_ERROR(CheckSpan(pos, remaining));
    if (max_len < 1 || max_len > remaining) {
      return InvalidArgument("max_len is {}, expected 1 to remaining ({})", max_len, remaining);
    }
    ASSIGN_OR_RETURN(const std::vector<ChunkShape> shapes, ReadChunks(step_chunks, num_step_chunks));
    if (!planner->step_begun) return InvalidArgument("next_chunk without begin_step");
    const int32_t found = planner->planner->NextChunk(
        {.seq = seq, .pos = pos, .remaining = remaining, .max_len = max_len, .step_chunks = shapes});
    if (found < 0 || found > max_len) return Internal("chunk of {}, at most {}", found, max_len);
    *len = found;
    return OkStatus();
  });
}

penstock_status penstock_planner_on_step(penstock_planner* planner, const penstock_chunk* chunks,
                                         size_t num_chunks, const penstock_stamp* stamps, size_t num_stamps,
                                         char* error, size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPlanner(planner));
    ASSIGN_OR_RETURN(const std::vector<ChunkShape> shapes, ReadChunks(chunks, num_chunks));
    if (num_stamps > 0) RETURN_IF_ERROR(CheckPointer(stamps, "stamps"));
    std::vector<StageStamp> read;
    for (size_t s = 0; s < num_stamps; ++s) {
      read.push_back({.stage = static_cast<int32_t>(s),
                      .recv_us = stamps[s].recv_us,
                      .begin_us = stamps[s].begin_us,
                      .end_us = stamps[s].end_us});
    }
    planner->step_begun = false;
    planner->planner->OnStep({.chunks = shapes, .stamps = read});
    return OkStatus();
  });
}

penstock_status penstock_planner_replay(penstock_planner* planner, const penstock_cost* cost, int64_t pos,
                                        int64_t len, int32_t max_tokens, penstock_plan** plan, char* error,
                                        size_t error_size) {
  return Guarded(error, error_size, [&]() -> Status {
    RETURN_IF_ERROR(CheckPlanner(planner));
    RETURN_IF_ERROR(CheckCost(cost));
    RETURN_IF_ERROR(CheckPointer(plan, "plan"));
    RETURN_IF_ERROR(CheckSpan(pos, len));
    if (max_tokens < 1) return InvalidArgument("max_tokens is {}, expected >= 1", max_tokens);
    RETURN_IF_ERROR(CheckNumChunks(len, max_tokens));
    planner->step_begun = false;
    *plan = new penstock_plan{ReplayPolicy(*planner->planner, cost->model, pos, len, max_tokens)};
    return OkStatus();
  });
}

}  // extern "C"
