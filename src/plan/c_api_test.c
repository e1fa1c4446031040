/* The C ABI as a C program sees it: this file is C99, and linked to the shared library alone.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan/c_api.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int num_failed = 0;
static char error[160];

#define EXPECT(cond)                                                               \
  do {                                                                             \
    if (!(cond)) {                                                                 \
      printf("%s:%d: not so: %s (error: %s)\n", __FILE__, __LINE__, #cond, error); \
      ++num_failed;                                                                \
    }                                                                              \
  } while (0)
#define EXPECT_OK(call) EXPECT((call) == PENSTOCK_OK)
#define EXPECT_ERROR(call, message)              \
  do {                                           \
    error[0] = 0;                                \
    EXPECT((call) == PENSTOCK_INVALID_ARGUMENT); \
    EXPECT(strstr(error, message) != NULL);      \
  } while (0)
#define ERR error, sizeof error

static int near(double a, double b, double share) { return fabs(a - b) <= share * fabs(b); }

/* Two stages on which a prompt of l tokens takes 1e-6 l^2 + 0.01 l + 1 milliseconds. */
static penstock_cost* quadratic_cost(void) {
  penstock_stage_cost stages[2] = {{sizeof(penstock_stage_cost), 0, 0, 0, 0, 0, 0, 0, 0},
                                   {sizeof(penstock_stage_cost), 0, 0, 0, 0, 0, 0, 0, 0}};
  for (int s = 0; s < 2; ++s) {
    stages[s].step_us = 1000;
    stages[s].token_us = 10;
    stages[s].pair_us = 2e-3;
  }
  penstock_cost* cost = NULL;
  EXPECT_OK(penstock_cost_create(stages, 2, &cost, ERR));
  return cost;
}

static penstock_planner_options some_options(const char* policy) {
  penstock_planner_options options = {sizeof options, policy, 32768, 128, 0, 200000, 0, 0, 0, 0, 0, 0, 0};
  return options;
}

static void test_cost(void) {
  penstock_cost* cost = quadratic_cost();
  EXPECT(penstock_cost_num_stages(cost) == 2);
  penstock_stage_cost stage = {sizeof stage, 0, 0, 0, 0, 0, 0, 0, 0};
  EXPECT_OK(penstock_cost_stage(cost, 1, &stage, ERR));
  EXPECT(stage.token_us == 10 && stage.struct_size == sizeof stage);
  EXPECT_ERROR(penstock_cost_stage(cost, 2, &stage, ERR), "stage 2: there are 2");

  const penstock_chunk chunks[2] = {{0, 1000, 0}, {500, 1, 1}};
  double stage_us[2] = {0, 0};
  EXPECT_OK(penstock_cost_predict(cost, chunks, 2, stage_us, ERR));
  EXPECT(near(stage_us[0], 1000 + 10010 + 1000, 1e-12) && stage_us[1] == stage_us[0]);
  penstock_cost_destroy(cost);

  const penstock_whole_cost whole = {sizeof whole, 1e-4, 1e-9, 0, 0, 0.01};
  const double shares[2] = {1, 3};
  EXPECT_OK(penstock_cost_create_whole(&whole, shares, 2, &cost, ERR));
  EXPECT_OK(penstock_cost_stage(cost, 1, &stage, ERR));
  EXPECT(near(stage.token_us, 75, 1e-12) && near(stage.step_us, 10000, 1e-12));
  penstock_cost_destroy(cost);
  EXPECT_OK(penstock_cost_create_whole(&whole, NULL, 4, &cost, ERR));
  EXPECT_OK(penstock_cost_stage(cost, 3, &stage, ERR));
  EXPECT(near(stage.token_us, 25, 1e-12));
  penstock_cost_destroy(cost);
}

static void test_errors(void) {
  penstock_stage_cost stage = {sizeof stage, 0, 0, 0, 0, 0, 0, 0, 0};
  penstock_cost* cost = NULL;
  EXPECT_ERROR(penstock_cost_create(&stage, 1, &cost, ERR), "stage 0: costs must be finite");
  stage.token_us = -1;
  EXPECT_ERROR(penstock_cost_create(&stage, 1, &cost, ERR), "stage 0: costs must be finite");
  stage.token_us = NAN;
  EXPECT_ERROR(penstock_cost_create(&stage, 1, &cost, ERR), "stage 0: costs must be finite");
  EXPECT_ERROR(penstock_cost_create(NULL, 1, &cost, ERR), "stages is NULL");
  EXPECT_ERROR(penstock_cost_create(&stage, 0, &cost, ERR), "num_stages is 0");
  stage.struct_size = 0;
  EXPECT_ERROR(penstock_cost_create(&stage, 1, &cost, ERR), "struct_size is 0");
  EXPECT(cost == NULL);
  EXPECT(penstock_cost_create(NULL, 1, &cost, NULL, 0) == PENSTOCK_INVALID_ARGUMENT);
  char small[8] = "xxxxxxx";
  penstock_cost_create(NULL, 1, &cost, small, sizeof small);
  EXPECT(strcmp(small, "stages ") == 0);

  stage.struct_size = sizeof stage;
  stage.token_us = 0;
  stage.decode_token_us = 1;
  EXPECT_OK(penstock_cost_create(&stage, 1, &cost, ERR));
  const penstock_plan_limits limits = {sizeof limits, 64, 0, 8192, 0};
  penstock_plan* plan = NULL;
  EXPECT_ERROR(penstock_plan_prompt(cost, 0, 1000, &limits, &plan, ERR), "chunks of prompts cost nothing");
  penstock_cost_destroy(cost);

  cost = quadratic_cost();
  penstock_plan_limits bad = limits;
  bad.max_chunk = 63;
  EXPECT_ERROR(penstock_plan_prompt(cost, 0, 1000, &bad, &plan, ERR), "max_chunk is 63");
  bad = limits;
  bad.align = 1;
  bad.max_chunk = 1;
  EXPECT_ERROR(penstock_plan_prompt(cost, 0, 1 << 30, &bad, &plan, ERR), "over 65536 chunks");
  EXPECT_ERROR(penstock_plan_prompt(cost, -1, 1000, &limits, &plan, ERR), "prompt of 1000 tokens after -1");
  EXPECT_ERROR(penstock_plan_prompt(cost, INT64_MAX, INT64_MAX, &limits, &plan, ERR), "at most 2^30");
  EXPECT_ERROR(penstock_plan_prompt(cost, 0, 1000, NULL, &plan, ERR), "limits is NULL");
  EXPECT(plan == NULL);
  penstock_cost_destroy(cost);

  penstock_planner_options options = some_options("dynamic");
  penstock_planner* planner = NULL;
  EXPECT_ERROR(penstock_planner_create(&options, &planner, ERR),
               "chunk policy \"dynamic\": expected one of static, equal-latency, sglang, optimal");
  options = some_options("optimal");
  options.smooth_factor = 2;
  EXPECT_ERROR(penstock_planner_create(&options, &planner, ERR), "smooth_factor is 2, expected in (0, 1]");
  EXPECT(planner == NULL);
  penstock_cost_destroy(NULL);
  penstock_plan_destroy(NULL);
  penstock_planner_destroy(NULL);
}

/* A caller of a later version, whose struct has a field more; and one of an earlier, whose has one less. */
static void test_sizes(void) {
  struct {
    penstock_planner_options known;
    double later;
  } options = {some_options("static"), 0};
  options.known.struct_size = sizeof options;
  penstock_planner* planner = NULL;
  EXPECT_OK(penstock_planner_create(&options.known, &planner, ERR));
  penstock_planner_destroy(planner);
  options.later = 1;
  EXPECT_ERROR(penstock_planner_create(&options.known, &planner, ERR), "is set");

  penstock_planner_options earlier = some_options("static");
  earlier.release_behaviour = 1;
  earlier.max_fit_chunk = 1; /* out of range, and beyond what the caller has */
  earlier.struct_size = offsetof(penstock_planner_options, max_fit_chunk);
  EXPECT_OK(penstock_planner_create(&earlier, &planner, ERR));
  penstock_planner_destroy(planner);

  penstock_cost* cost = quadratic_cost();
  penstock_stage_cost part = {offsetof(penstock_stage_cost, pair_us), 0, 0, 0, -7, 0, 0, 0, 0};
  EXPECT_OK(penstock_cost_stage(cost, 0, &part, ERR));
  EXPECT(part.token_us == 10 && part.pair_us == -7);
  penstock_cost_destroy(cost);
}

static void test_plan(void) {
  penstock_cost* cost = quadratic_cost();
  const penstock_plan_limits limits = {sizeof limits, 128, 0, 32768, 0};
  penstock_plan* plan = NULL;
  EXPECT_OK(penstock_plan_prompt(cost, 0, 131072, &limits, &plan, ERR));
  const size_t n = penstock_plan_num_chunks(plan);
  const int32_t* chunks = penstock_plan_chunks(plan);
  int64_t sum = 0;
  for (size_t i = 0; i < n; ++i) sum += chunks[i];
  EXPECT(n > 4 && sum == 131072);

  double makespan_us = 0, fixed_us = 0, ideal_us = 0;
  EXPECT_OK(penstock_makespan(cost, 0, chunks, n, &makespan_us, ERR));
  EXPECT(near(makespan_us, penstock_plan_makespan_us(plan), 1e-9));
  const int32_t fixed[4] = {32768, 32768, 32768, 32768};
  EXPECT_OK(penstock_makespan(cost, 0, fixed, 4, &fixed_us, ERR));
  EXPECT_OK(penstock_ideal(cost, 0, 131072, &ideal_us, ERR));
  EXPECT(ideal_us < makespan_us && makespan_us < 0.85 * fixed_us);
  EXPECT(penstock_plan_target_us(plan) > 0);

  int32_t first = 0;
  EXPECT_OK(penstock_next_equal_chunk(cost, 0, 131072, penstock_plan_target_us(plan), &limits, &first, ERR));
  EXPECT(abs(first - chunks[0]) <= 1024);
  EXPECT_ERROR(penstock_next_equal_chunk(cost, 0, 131072, 0, &limits, &first, ERR), "target_us is 0");
  penstock_plan_destroy(plan);
  penstock_cost_destroy(cost);
}

static void test_replay(void) {
  static const int32_t expected[9] = {32768, 18944, 15616, 13952, 12800, 12032, 11520, 11136, 2304};
  penstock_cost* cost = quadratic_cost();
  penstock_planner_options options = some_options("equal-latency");
  options.smooth_factor = 0.8;
  options.min_chunk = 4096;
  options.no_timing = 1;
  penstock_planner* planner = NULL;
  EXPECT_OK(penstock_planner_create(&options, &planner, ERR));
  EXPECT(strcmp(penstock_planner_policy(planner), "equal-latency") == 0);
  penstock_plan* plan = NULL;
  EXPECT_OK(penstock_planner_replay(planner, cost, 0, 131072, 32768, &plan, ERR));
  EXPECT(penstock_plan_num_chunks(plan) == 9);
  EXPECT(memcmp(penstock_plan_chunks(plan), expected, sizeof expected) == 0);
  penstock_plan_destroy(plan);
  EXPECT_ERROR(penstock_planner_replay(planner, cost, 0, 131072, 0, &plan, ERR), "max_tokens is 0");
  penstock_planner_destroy(planner);
  penstock_cost_destroy(cost);
}

/* Step by step: a prompt that runs, and one that waits, share a step's time; a step that has come back sets
 * the target of the next. */
static void test_steps(void) {
  penstock_cost* cost = quadratic_cost();
  penstock_planner_options options = some_options("equal-latency");
  options.max_tokens = 8192;
  options.min_chunk = 64;
  penstock_planner* planner = NULL;
  EXPECT_OK(penstock_planner_create(&options, &planner, ERR));
  int32_t len = 0;
  const penstock_demand demands[2] = {{1, 4096, 9000, 1, 0}, {2, 0, 500, 0, 0}};
  EXPECT_ERROR(penstock_planner_next_chunk(planner, 1, 4096, 9000, 8192, NULL, 0, &len, ERR),
               "next_chunk without begin_step");
  EXPECT_OK(penstock_planner_begin_step(planner, demands, 2, NULL, 0, 0, 8192, ERR));
  EXPECT_OK(penstock_planner_next_chunk(planner, 1, 4096, 9000, 8192, NULL, 0, &len, ERR));
  EXPECT(len == 8192);
  EXPECT_OK(penstock_planner_set_cost(planner, cost, ERR));

  EXPECT_OK(penstock_planner_begin_step(planner, demands, 2, NULL, 0, 0, 8192, ERR));
  EXPECT_OK(penstock_planner_next_chunk(planner, 1, 4096, 9000, 8192, NULL, 0, &len, ERR));
  EXPECT(len == 6144);
  const penstock_chunk step[1] = {{4096, 6144, 0}};
  EXPECT_OK(penstock_planner_next_chunk(planner, 2, 0, 500, 500, step, 1, &len, ERR));
  EXPECT(len == 0);

  const penstock_chunk whole[1] = {{0, 8192, 0}};
  const penstock_stamp stamps[2] = {{0, 0, 5}, {5, 10, 10 + 91292}};
  EXPECT_OK(penstock_planner_on_step(planner, whole, 1, stamps, 2, ERR));
  EXPECT_OK(penstock_planner_begin_step(planner, demands, 1, NULL, 0, 0, 8192, ERR));
  EXPECT_OK(penstock_planner_next_chunk(planner, 1, 4096, 9000, 8192, NULL, 0, &len, ERR));
  EXPECT(len == 4096);

  EXPECT_ERROR(penstock_planner_next_chunk(planner, 1, 0, 10, 11, NULL, 0, &len, ERR), "max_len is 11");
  EXPECT_ERROR(penstock_planner_begin_step(planner, NULL, 1, NULL, 0, 0, 8192, ERR), "prefills is NULL");
  EXPECT_ERROR(penstock_planner_set_cost(planner, NULL, ERR), "cost is NULL");
  penstock_planner_destroy(planner);
  penstock_cost_destroy(cost);
}

static uint32_t state = 1;
static int32_t draw(int32_t below) {
  state = state * 1664525u + 1013904223u;
  return (int32_t)((state >> 8) % (uint32_t)below);
}

/* Whatever is asked, in whatever order: an answer within its bounds, or an error. */
static void test_any_order(void) {
  static const char* const policies[4] = {"static", "equal-latency", "sglang", "optimal"};
  for (int round = 0; round < 200; ++round) {
    penstock_planner_options options = some_options(policies[round % 4]);
    options.max_tokens = 1 + draw(2048);
    options.block_size = 1 + draw(100);
    options.max_step_us = draw(2) * 500.0 * draw(100);
    penstock_planner* planner = NULL;
    EXPECT_OK(penstock_planner_create(&options, &planner, ERR));
    penstock_stage_cost stage = {
        sizeof stage, draw(2) * 1e3, draw(3) * 5.0, draw(2) * 100.0, draw(2) * 1e-3, 0, 1, 1, 0};
    penstock_cost* cost = NULL;
    EXPECT_OK(penstock_cost_create(&stage, 1, &cost, ERR));
    for (int i = 0; i < 50; ++i) {
      const penstock_chunk chunk = {draw(2) * draw(30000), 1 + draw(3000), 0};
      const penstock_demand demands[2] = {
          {(uint64_t)draw(3), draw(2) * draw(30000), 1 + draw(9000), draw(2), 0},
          {(uint64_t)draw(3), draw(30000), 1 + draw(9000), draw(2), 0}};
      const penstock_stamp stamp = {draw(1000), draw(1000), (int64_t)draw(1000) * draw(1000)};
      const int32_t remaining = demands[0].remaining, most = 1 + draw(remaining);
      int32_t len = -1;
      switch (draw(4)) {
        case 0:
          EXPECT_OK(penstock_planner_set_cost(planner, cost, ERR));
          break;
        case 1:
          EXPECT_OK(penstock_planner_on_step(planner, &chunk, 1, &stamp, 1, ERR));
          break;
        case 2:
          EXPECT_OK(penstock_planner_begin_step(planner, demands, (size_t)draw(3), &chunk, (size_t)draw(2),
                                                draw(4), 1 + draw(2048), ERR));
          break;
        default:
          if (penstock_planner_next_chunk(planner, demands[0].seq, demands[0].pos, remaining, most, &chunk,
                                          (size_t)draw(2), &len, ERR) == PENSTOCK_OK) {
            EXPECT(len >= 0 && len <= most);
          }
      }
    }
    penstock_planner_destroy(planner);
    penstock_cost_destroy(cost);
  }
}

static void test_fit(void) {
  enum { kNum = 36 };
  penstock_chunk chunks[kNum];
  penstock_sample samples[kNum];
  for (int i = 0; i < kNum; ++i) {
    chunks[i].pos = i % 6 * 8192;
    chunks[i].len = 512 << (i / 6);
    chunks[i].is_decode = 0;
    const double c = chunks[i].len, h = chunks[i].pos;
    const penstock_sample sample = {&chunks[i], 1, 1000 + 10 * c + 2e-3 * (h * c + c * c / 2), 0};
    samples[i] = sample;
  }
  penstock_stage_cost fitted = {sizeof fitted, 0, 0, 0, 0, 0, 0, 0, 0};
  penstock_fit_quality quality = {sizeof quality, 0, 0, 0, 0};
  EXPECT_OK(penstock_fit_stage(samples, kNum, NULL, &fitted, &quality, ERR));
  EXPECT(quality.ok && quality.num_samples == kNum && quality.p90_error < 0.01);
  EXPECT(near(fitted.pair_us, 2e-3, 0.02) && near(fitted.token_us, 10, 0.05));

  const penstock_stage_cost prior = {sizeof prior, 1, 2, 0, 0, 0, 0, 0, 0};
  EXPECT_OK(penstock_fit_stage(NULL, 0, &prior, &fitted, &quality, ERR));
  EXPECT(!quality.ok && fitted.step_us == 1 && fitted.token_us == 2);
  EXPECT_ERROR(penstock_fit_stage(NULL, 1, NULL, &fitted, NULL, ERR), "samples is NULL");
  chunks[3].len = 0;
  EXPECT_ERROR(penstock_fit_stage(samples, kNum, NULL, &fitted, NULL, ERR), "sample 3: chunk 0: prompt of 0");
}

int main(void) {
  EXPECT(penstock_plan_api_version() == PENSTOCK_PLAN_API_VERSION);
  test_cost();
  test_errors();
  test_sizes();
  test_plan();
  test_replay();
  test_steps();
  test_any_order();
  test_fit();
  if (num_failed > 0) printf("%d expectations failed\n", num_failed);
  return num_failed > 0;
}
