/* The planner as a library: libpenstock_plan's C ABI, for schedulers in other languages.
 *
 *   penstock_cost      how long each stage of a pipeline takes for a step (cost_model.h), given or fitted
 *   penstock_planner   a policy that cuts prompts into chunks, asked step by step (chunk_planner.h)
 *   penstock_plan      a whole prompt's chunks: the best ones, or those that a policy cuts when it is alone
 *
 * Costs and times are in microseconds, positions and lengths in tokens.
 *
 * Calls return PENSTOCK_OK, or say in `error` (at most `error_size` bytes, ended by a 0; both may be 0) what
 * is wrong, and leave their results untouched. No exception leaves the library, and no input of whatever kind
 * ends the process, but a pointer that does not point to what is said here. A handle is used by one thread at
 * a time; different handles are independent. A handle that comes back is the caller's, to be destroyed by the
 * function of that name, which takes NULL too.
 *
 * Structs with a struct_size grow at their end in later versions: set struct_size to sizeof and the rest to 0
 * where nothing is to be said ("penstock_plan_limits limits = {sizeof limits};"). A library that does not
 * know a field which is not 0 says so. The others stay as they are while PENSTOCK_PLAN_API_VERSION does.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define PENSTOCK_PLAN_API_VERSION 1

#if defined(__GNUC__)
#define PENSTOCK_API __attribute__((visibility("default")))
#else
#define PENSTOCK_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum penstock_status {
  PENSTOCK_OK = 0,
  PENSTOCK_INVALID_ARGUMENT = 1,
  PENSTOCK_OUT_OF_MEMORY = 2,
  PENSTOCK_INTERNAL = 3
} penstock_status;

/* PENSTOCK_PLAN_API_VERSION of the library at hand. */
PENSTOCK_API uint32_t penstock_plan_api_version(void);

/* ---- What a step takes ------------------------------------------------------------------------------- */

typedef struct penstock_cost penstock_cost;

/* A stage, on a step of tokens, pairs (sum of H C + C^2 / 2 over chunks of C tokens after H), and so on:
 * step + (token^3 + floor^3)^(1/3) + pair + history + seq + decode_token + decode_context, each but step and
 * floor times its sum. All finite and >= 0, and not all of them 0. */
typedef struct penstock_stage_cost {
  size_t struct_size;
  double step_us;
  double token_us;
  double floor_us;
  double pair_us;
  double history_us;
  double seq_us;
  double decode_token_us;
  double decode_context_us;
} penstock_stage_cost;

/* A whole model, in SECONDS: d0 + w (((alpha c)^3 + floor^3)^(1/3) + beta (h c + c^2/2) + gamma h) for a
 * chunk of c tokens after h on a stage with the share w of the model. */
typedef struct penstock_whole_cost {
  size_t struct_size;
  double alpha;
  double beta;
  double gamma;
  double floor;
  double d0;
} penstock_whole_cost;

/* A chunk of a prompt, or (is_decode) a generated token: len tokens after pos. */
typedef struct penstock_chunk {
  int32_t pos;
  int32_t len;
  int32_t is_decode;
} penstock_chunk;

/* A measured step. Times that are not finite and > 0 do not count. */
typedef struct penstock_sample {
  const penstock_chunk* chunks;
  size_t num_chunks;
  double time_us;
  double weight; /* of how many ordinary samples; 0: 1 */
} penstock_sample;

typedef struct penstock_fit_quality {
  size_t struct_size;
  double median_error; /* |predicted - measured| / measured, of the samples */
  double p90_error;
  int32_t num_samples; /* that were used */
  int32_t ok;          /* 0: the samples were worthless, and the prior came back */
} penstock_fit_quality;

/* One entry for each stage; all have the same struct_size. */
PENSTOCK_API penstock_status penstock_cost_create(const penstock_stage_cost* stages, size_t num_stages,
                                                  penstock_cost** cost, char* error, size_t error_size);
/* `shares`: [num_stages] > 0, of the model; NULL: balanced. */
PENSTOCK_API penstock_status penstock_cost_create_whole(const penstock_whole_cost* whole,
                                                        const double* shares, size_t num_stages,
                                                        penstock_cost** cost, char* error, size_t error_size);
PENSTOCK_API void penstock_cost_destroy(penstock_cost* cost);
PENSTOCK_API size_t penstock_cost_num_stages(const penstock_cost* cost);
PENSTOCK_API penstock_status penstock_cost_stage(const penstock_cost* cost, size_t stage,
                                                 penstock_stage_cost* result, char* error, size_t error_size);
/* What a step takes on each stage: stage_us [num_stages]. */
PENSTOCK_API penstock_status penstock_cost_predict(const penstock_cost* cost, const penstock_chunk* chunks,
                                                   size_t num_chunks, double* stage_us, char* error,
                                                   size_t error_size);
/* One stage's cost from what was measured on it. `prior` may be NULL, `quality` too. Worthless samples are no
 * error: see penstock_fit_quality. */
PENSTOCK_API penstock_status penstock_fit_stage(const penstock_sample* samples, size_t num_samples,
                                                const penstock_stage_cost* prior, penstock_stage_cost* result,
                                                penstock_fit_quality* quality, char* error,
                                                size_t error_size);

/* ---- A prompt's chunks ------------------------------------------------------------------------------- */

typedef struct penstock_plan penstock_plan;

typedef struct penstock_plan_limits {
  size_t struct_size;
  int32_t align;      /* chunks end at multiples of this, but for the prompt's own end; 0: 1 */
  int32_t min_chunk;  /* no chunk but the last is shorter; 0: 1 */
  int32_t max_chunk;  /* no chunk is longer; at least align and min_chunk */
  double max_step_us; /* no chunk takes longer on any stage, where that is possible; 0: no limit */
} penstock_plan_limits;

PENSTOCK_API size_t penstock_plan_num_chunks(const penstock_plan* plan);
PENSTOCK_API const int32_t* penstock_plan_chunks(const penstock_plan* plan); /* lives as long as the plan */
PENSTOCK_API double penstock_plan_makespan_us(const penstock_plan* plan);
PENSTOCK_API double penstock_plan_target_us(const penstock_plan* plan); /* of a chunk, slowest stage */
PENSTOCK_API void penstock_plan_destroy(penstock_plan* plan);

/* The chunks of [pos, pos + len) whose last one leaves the pipeline soonest. */
PENSTOCK_API penstock_status penstock_plan_prompt(const penstock_cost* cost, int64_t pos, int64_t len,
                                                  const penstock_plan_limits* limits, penstock_plan** plan,
                                                  char* error, size_t error_size);
/* The first of the fewest equal chunks that take at most about target_us each. */
PENSTOCK_API penstock_status penstock_next_equal_chunk(const penstock_cost* cost, int64_t pos, int64_t len,
                                                       double target_us, const penstock_plan_limits* limits,
                                                       int32_t* chunk, char* error, size_t error_size);
/* From the first stage's begin to the last one's end, of these chunks after pos. */
PENSTOCK_API penstock_status penstock_makespan(const penstock_cost* cost, int64_t pos, const int32_t* chunks,
                                               size_t num_chunks, double* makespan_us, char* error,
                                               size_t error_size);
/* The work alone, shared equally by the stages: no plan is faster. */
PENSTOCK_API penstock_status penstock_ideal(const penstock_cost* cost, int64_t pos, int64_t len,
                                            double* ideal_us, char* error, size_t error_size);

/* ---- Policies ---------------------------------------------------------------------------------------- */

typedef struct penstock_planner penstock_planner;

typedef struct penstock_planner_options {
  size_t struct_size;
  const char* policy; /* "static", "equal-latency", "sglang", "optimal"; NULL: "optimal" */
  int32_t max_tokens; /* of a step, and the first chunk of equal-latency and sglang */
  int32_t block_size; /* a page of the KV cache */
  int32_t tile;       /* chunks are multiples of this; optimal only; 0: 1 */
  int32_t max_model_len;
  double max_step_us;        /* 0: no limit */
  double smooth_factor;      /* in (0, 1]; 0: the policy's own */
  int32_t min_chunk;         /* 1 to max_tokens; 0: the policy's own */
  int32_t max_fit_chunk;     /* equal-latency: > 5; 0: 30 */
  int32_t no_timing;         /* equal-latency: do not calibrate online */
  int32_t release_behaviour; /* equal-latency: as vLLM-Ascend v0.20.2rc1 */
  double fixed_target_us;    /* optimal: every chunk aims at this time, for comparisons; 0: it decides */
} penstock_planner_options;

/* A prompt, or what is left of one, that has not been scheduled yet. */
typedef struct penstock_demand {
  uint64_t seq;
  int32_t pos;        /* tokens before: computed, in steps in flight, or probably cached */
  int32_t remaining;  /* >= 1 */
  int32_t is_running; /* 0: it waits */
  int32_t reserved;
} penstock_demand;

/* One stage's work on a step. */
typedef struct penstock_stamp {
  int64_t recv_us;  /* the step had arrived */
  int64_t begin_us; /* work began */
  int64_t end_us;
} penstock_stamp;

PENSTOCK_API penstock_status penstock_planner_create(const penstock_planner_options* options,
                                                     penstock_planner** planner, char* error,
                                                     size_t error_size);
PENSTOCK_API void penstock_planner_destroy(penstock_planner* planner);
PENSTOCK_API const char* penstock_planner_policy(const penstock_planner* planner);

/* The cost from now on. Before the first, chunks are as long as they may be. */
PENSTOCK_API penstock_status penstock_planner_set_cost(penstock_planner* planner, const penstock_cost* cost,
                                                       char* error, size_t error_size);
/* A step is being made: before its next_chunk calls, each time. `prefills`: all that runs and waits, in the
 * order of service, at least one where next_chunk is to be called; `step_chunks`: what is in the step
 * already. */
PENSTOCK_API penstock_status penstock_planner_begin_step(penstock_planner* planner,
                                                         const penstock_demand* prefills, size_t num_prefills,
                                                         const penstock_chunk* step_chunks,
                                                         size_t num_step_chunks, int32_t steps_in_flight,
                                                         int32_t max_tokens, char* error, size_t error_size);
/* How many tokens of a prompt go into it: 0 (leave it for a later step) to max_len. `max_len`: 1 to
 * remaining. `step_chunks`: all that is in the step by now, earlier answers among it. Where nothing is in the
 * step nor in flight, take a 0 as max_len: no policy may stop the scheduler. */
PENSTOCK_API penstock_status penstock_planner_next_chunk(penstock_planner* planner, uint64_t seq, int32_t pos,
                                                         int32_t remaining, int32_t max_len,
                                                         const penstock_chunk* step_chunks,
                                                         size_t num_step_chunks, int32_t* len, char* error,
                                                         size_t error_size);
/* A step has come back; stamps in the order of stages. Not between begin_step and its last next_chunk. */
PENSTOCK_API penstock_status penstock_planner_on_step(penstock_planner* planner, const penstock_chunk* chunks,
                                                      size_t num_chunks, const penstock_stamp* stamps,
                                                      size_t num_stamps, char* error, size_t error_size);
/* What the policy cuts of a prompt that is alone, when every step takes exactly what the cost says. The
 * planner is told the cost and every step's time, and remembers (policy_replay.h). */
PENSTOCK_API penstock_status penstock_planner_replay(penstock_planner* planner, const penstock_cost* cost,
                                                     int64_t pos, int64_t len, int32_t max_tokens,
                                                     penstock_plan** plan, char* error, size_t error_size);

#ifdef __cplusplus
} /* extern "C" */
#endif
