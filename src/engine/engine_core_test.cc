// EngineCore in virtual time, over a model that is a hash function.
//
// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_core.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/test_support.h"
#include "sim/run_until_idle.h"

namespace penstock {
namespace {

constexpr int32_t kVocab = 1000;

EngineConfig SmallConfig() {
  EngineConfig config;
  config.vocab_size = kVocab;
  config.scheduler.max_num_batched_tokens = 64;
  config.scheduler.max_num_seqs = 8;
  config.scheduler.block_size = 4;
  config.scheduler.num_blocks = 128;
  config.scheduler.max_model_len = 400;
  return config;
}

class Rig {
 public:
  explicit Rig(EngineConfig config = SmallConfig(), SimConfig sim = {.num_stages = 2})
      : executor(WithSizes(config, std::move(sim)), clock), core(config, executor, texts) {}

  Received& Admit(Request request) {
    const Status status = core.CheckRequest(request);
    EXPECT_TRUE(status.ok()) << status.message();
    Received& to = received[request.request_id];
    core.Admit(
        std::move(request), [&to](RequestOutput output) { to.Take(std::move(output)); }, clock.now_us());
    return to;
  }
  void Run(std::vector<TimedEvent> events = {}) { RunUntilIdle(core, executor, clock, std::move(events)); }

  static SimConfig WithSizes(const EngineConfig& config, SimConfig sim) {
    sim.num_blocks = config.scheduler.num_blocks;
    sim.block_size = config.scheduler.block_size;
    sim.vocab_size = config.vocab_size;
    return sim;
  }

  VirtualClock clock;
  SimExecutor executor;
  LetterTexts texts;
  EngineCore core;
  std::map<std::string, Received> received;
};

std::vector<TokenId> Expected(const Request& request) {
  SampleSpec spec;
  spec.params = request.sampling;
  spec.seed = request.sampling.seed.value_or(0);
  return SimSampler(kVocab).Generate(request.prompt_ids, spec, request.sampling.max_tokens);
}

std::string Letters(const std::vector<TokenId>& ids) {
  std::string text;
  for (TokenId id : ids) text += LetterText::Letter(id);
  return text;
}

TEST(EngineCore, AnswersARequest) {
  Rig rig;
  const Request request = MakeRequest("a", CountingPrompt(100), 10);
  const Received& answer = rig.Admit(request);
  rig.Run();
  EXPECT_EQ(answer.token_ids, Expected(request));
  EXPECT_EQ(answer.text, Letters(Expected(request)) + "!");
  EXPECT_EQ(answer.num_outputs, 10);
  EXPECT_EQ(answer.num_finishes, 1);
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
  EXPECT_EQ(answer.last.num_prompt_tokens, 100);
  EXPECT_EQ(answer.last.num_output_tokens, 10);
  EXPECT_TRUE(rig.core.idle());
}

TEST(EngineCore, TimesAndStatistics) {
  EngineConfig config = SmallConfig();
  Rig rig(config, {.num_stages = 2, .cost = SimpleStepCost{.per_token_us = 1000}});
  rig.clock.AdvanceTo(5000);
  const Received& a = rig.Admit(MakeRequest("a", CountingPrompt(40), 3));
  rig.Run();
  const RequestTimes& times = a.last.times;
  EXPECT_EQ(times.arrival_us, 5000);
  EXPECT_EQ(times.first_scheduled_us, 5000);
  EXPECT_EQ(times.first_token_us, 5000 + 2 * 40'000);
  EXPECT_EQ(times.last_token_us, times.first_token_us + 2 * 2000);
  EXPECT_EQ(times.finish_us, times.last_token_us);

  const Received& b = rig.Admit(MakeRequest("b", CountingPrompt(40), 1));
  rig.Run();
  EXPECT_EQ(b.last.num_cached_tokens, 36);
  const EngineStats stats = rig.core.Stats();
  EXPECT_EQ(stats.prompt_tokens, 80u);
  EXPECT_EQ(stats.prompt_tokens_cached, 36u);
  EXPECT_EQ(stats.computed_prompt_tokens, 44u);
  EXPECT_EQ(stats.generation_tokens, 4u);
  EXPECT_EQ(stats.prefix_cache_queries, 80u);
  EXPECT_EQ(stats.prefix_cache_hits, 36u);
  EXPECT_EQ(stats.steps, 4u);
  EXPECT_EQ(stats.finished.at("length"), 2u);
  EXPECT_EQ(stats.kv_cache_usage, 0);
  EXPECT_EQ(stats.stage_busy_seconds, (std::vector<double>{0.046, 0.046}));
  EXPECT_EQ(stats.histograms.at("time_to_first_token_seconds").count, 2u);
  EXPECT_DOUBLE_EQ(stats.histograms.at("time_to_first_token_seconds").sum, 0.080 + 0.008);
  EXPECT_DOUBLE_EQ(stats.histograms.at("inter_token_latency_seconds").sum, 0.004);
  EXPECT_DOUBLE_EQ(stats.histograms.at("request_time_per_output_token_seconds").sum, 0.002);
  EXPECT_EQ(stats.histograms.at("request_prefill_kv_computed_tokens").sum, 44);
  EXPECT_EQ(stats.histograms.at("iteration_tokens_total").sum, 46);
  EXPECT_GT(stats.prefill_us_per_token, 1000);
  EXPECT_LT(stats.prefill_us_per_token, 3000);
}

TEST(EngineCore, ProgressAndChunksOfAPrompt) {
  Rig rig(SmallConfig(), {.num_stages = 2, .cost = SimpleStepCost{.per_token_us = 100}});
  rig.Admit(MakeRequest("before", CountingPrompt(40), 1));
  rig.Run();
  const int64_t begin_us = rig.clock.now_us();
  Request request = MakeRequest("a", CountingPrompt(200), 3);
  request.report_progress = true;
  const Received& a = rig.Admit(request);
  const Received& silent = rig.Admit(MakeRequest("b", CountingPrompt(100, 500), 1));
  rig.Run();
  EXPECT_TRUE(silent.progress.empty());
  std::vector<int32_t> done, lens;
  int64_t last_us = -1;
  for (const PromptProgress& progress : a.progress) {
    EXPECT_EQ(progress.num_tokens, 200);
    EXPECT_EQ(progress.num_cached, 40);
    EXPECT_GT(progress.elapsed_us, last_us);
    last_us = progress.elapsed_us;
    done.push_back(progress.num_done);
  }
  EXPECT_EQ(done.front(), 40);
  EXPECT_EQ(done.back(), 200);
  EXPECT_EQ(a.progress.front().elapsed_us, 0);
  EXPECT_EQ(last_us, a.last.times.first_token_us - a.last.times.first_scheduled_us);
  EXPECT_GE(a.last.times.first_scheduled_us, begin_us);
  ASSERT_EQ(a.last.chunk_lens.size() + 1, done.size());
  for (size_t i = 0; i < a.last.chunk_lens.size(); ++i)
    EXPECT_EQ(a.last.chunk_lens[i], done[i + 1] - done[i]);
}

TEST(EngineCore, BusyAndBubbleSecondsAreAllOfTheTime) {
  EngineConfig config = SmallConfig();
  SimConfig sim{.num_stages = 2,
                .cost = [](const Step& step, int stage) { return 1000 * step.num_tokens() * (stage + 1); }};
  Rig rig(config, std::move(sim));
  rig.clock.AdvanceTo(7'000'000);
  rig.Admit(MakeRequest("a", CountingPrompt(200), 5));
  rig.Run();
  const int64_t first_us = rig.clock.now_us() - 7'000'000;
  rig.clock.AdvanceTo(60'000'000);
  rig.Admit(MakeRequest("b", CountingPrompt(100, 500), 1));
  rig.Run();
  const double total_s = static_cast<double>(first_us + rig.clock.now_us() - 60'000'000) * 1e-6;

  const EngineStats stats = rig.core.Stats();
  for (int stage = 0; stage < 2; ++stage) {
    double sum_s = stats.stage_busy_seconds[stage];
    for (const auto& [cause, seconds] : stats.stage_bubble_seconds[stage]) sum_s += seconds;
    EXPECT_NEAR(sum_s, total_s, 1e-9) << "stage " << stage;
    EXPECT_EQ(stats.stage_bubble_seconds[stage].size(), 5u);
  }
  EXPECT_GT(stats.stage_bubble_seconds[0].at("drain"), 0);
  EXPECT_GT(stats.stage_bubble_seconds[0].at("starved"), 0);  // decode: there is nothing to submit
  EXPECT_GT(stats.stage_bubble_seconds[1].at("fill"), 0);
}

TEST(EngineCore, ReportsHowGoodPredictionsAreAndWhatWaits) {
  EngineConfig config = SmallConfig();
  Rig rig(config, {.num_stages = 2, .cost = SimpleStepCost{.per_token_us = 1000}});
  EXPECT_FALSE(rig.core.Stats().prefill_backlog_seconds.has_value());
  EXPECT_EQ(rig.core.Stats().scheduling_policy, "srpt");
  EXPECT_EQ(rig.core.Stats().chunk_policy, "static");
  const CostModel cost{std::vector<StageCost>(2, {.token_us = 1200})};
  rig.core.SetCost(cost);
  rig.Admit(MakeRequest("a", CountingPrompt(150), 1));
  rig.core.Tick(0);
  EXPECT_NEAR(*rig.core.Stats().prefill_backlog_seconds, 150 * 1200e-6, 1e-9);  // none has come back
  rig.Run();
  const EngineStats stats = rig.core.Stats();
  EXPECT_EQ(*stats.prefill_backlog_seconds, 0);
  EXPECT_EQ(stats.cost, cost);
  const Histogram& chunks = stats.own_histograms.at("prefill_chunk_tokens");
  EXPECT_EQ(chunks.count, 3u);  // 64, 64, 22
  EXPECT_EQ(chunks.sum, 150);
  const Histogram& ratio = stats.own_histograms.at("step_time_predicted_to_actual_ratio");
  EXPECT_EQ(ratio.count, 3u);
  EXPECT_NEAR(ratio.sum, 3 * 1.2, 1e-9);
}

TEST(EngineCore, HistogramsHaveVllmsNames) {
  Rig rig;
  const EngineStats stats = rig.core.Stats();
  for (const char* name :
       {"time_to_first_token_seconds", "inter_token_latency_seconds", "request_time_per_output_token_seconds",
        "e2e_request_latency_seconds", "request_queue_time_seconds", "request_inference_time_seconds",
        "request_prefill_time_seconds", "request_decode_time_seconds", "request_prompt_tokens",
        "request_generation_tokens", "request_max_num_generation_tokens", "request_params_n",
        "request_params_max_tokens", "request_num_preemptions", "request_prefill_kv_computed_tokens",
        "iteration_tokens_total"}) {
    EXPECT_TRUE(stats.histograms.contains(name)) << name;
  }
  EXPECT_EQ(stats.histograms.at("request_prompt_tokens").bounds,
            (std::vector<double>{1, 2, 5, 10, 20, 50, 100, 200}));
  EXPECT_EQ(stats.finished.size(), 4u);
}

// ---- How requests end ------------------------------------------------------------------------

class Stops : public testing::Test {
 protected:
  const Request request = MakeRequest("a", CountingPrompt(20), 12);
  const std::vector<TokenId> expected = Expected(request);

  Received Answer(const Request& changed, EngineConfig config = SmallConfig()) {
    Rig rig(config);
    const Received& answer = rig.Admit(changed);
    rig.Run();
    EXPECT_EQ(answer.num_finishes, 1);
    return answer;
  }
  std::vector<TokenId> FirstExpected(size_t n) const { return {expected.begin(), expected.begin() + n}; }
};

TEST_F(Stops, EndOfSequenceToken) {
  EngineConfig config = SmallConfig();
  config.eos_token_ids = {expected[4]};
  const Received answer = Answer(request, config);
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(answer.last.stop_reason.index(), 0u);
  EXPECT_EQ(answer.token_ids, FirstExpected(5));
  EXPECT_EQ(answer.text, Letters(FirstExpected(4)) + "!");  // the token itself is not shown
}

TEST_F(Stops, IgnoreEos) {
  EngineConfig config = SmallConfig();
  config.eos_token_ids = {expected[4]};
  Request ignoring = request;
  ignoring.sampling.ignore_eos = true;
  const Received answer = Answer(ignoring, config);
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
  EXPECT_EQ(answer.token_ids, expected);
}

TEST_F(Stops, StopTokenIsNamed) {
  Request stopping = request;
  stopping.sampling.stop_token_ids = {expected[3]};
  stopping.sampling.include_stop_str_in_output = true;
  const Received answer = Answer(stopping);
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(std::get<TokenId>(answer.last.stop_reason), expected[3]);
  EXPECT_EQ(answer.text, Letters(FirstExpected(4)) + "!");
}

TEST_F(Stops, StopString) {
  Request stopping = request;
  stopping.sampling.stop = {"no such", Letters(expected).substr(2, 3)};
  const Received answer = Answer(stopping);
  EXPECT_EQ(answer.reason(), FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(answer.last.stop_reason), stopping.sampling.stop[1]);
  EXPECT_EQ(answer.token_ids, FirstExpected(5));
  stopping.detokenize = false;  // no text, and the stop string counts all the same
  const Received without_text = Answer(stopping);
  EXPECT_EQ(without_text.reason(), FinishReason::kStop);
  EXPECT_EQ(without_text.text, "");
}

TEST_F(Stops, StopStringInTheLastTokenWinsOverLength) {
  Request stopping = request;
  stopping.sampling.max_tokens = 5;
  stopping.sampling.stop = {Letters(expected).substr(3, 2)};
  EXPECT_EQ(Answer(stopping).reason(), FinishReason::kStop);
}

TEST_F(Stops, MinTokensBansStopTokens) {
  EngineConfig config = SmallConfig();
  config.eos_token_ids = {expected[1]};
  Request longer = request;
  longer.sampling.min_tokens = 6;
  longer.sampling.stop_token_ids = {expected[0]};
  const Received answer = Answer(longer, config);
  EXPECT_GE(answer.token_ids.size(), 6u);
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_NE(answer.token_ids[i], expected[0]);
    EXPECT_NE(answer.token_ids[i], expected[1]);
  }
}

TEST_F(Stops, MaxModelLen) {
  EngineConfig config = SmallConfig();
  config.scheduler.max_model_len = 25;
  const Received answer = Answer(request, config);
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
  EXPECT_EQ(answer.token_ids, FirstExpected(5));
}

TEST_F(Stops, LengthOfTheWholeCache) {
  EngineConfig config = SmallConfig();
  config.scheduler.num_blocks = 6;  // 24 tokens
  const Received answer = Answer(request, config);
  EXPECT_EQ(answer.reason(), FinishReason::kLength);
  EXPECT_EQ(answer.token_ids, FirstExpected(4));
}

TEST(EngineCore, Logprobs) {
  Rig rig;
  Request request = MakeRequest("a", CountingPrompt(150), 4);
  request.sampling.logprobs = 2;
  request.sampling.prompt_logprobs = 1;
  const Received& answer = rig.Admit(request);
  rig.Run();
  ASSERT_EQ(answer.logprobs.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answer.logprobs[i].chosen.id, answer.token_ids[i]);
    EXPECT_EQ(answer.logprobs[i].top.size(), 2u);
  }
  ASSERT_EQ(answer.prompt_logprobs.size(), 149u);  // over three chunks
  for (int32_t i = 0; i < 149; ++i) EXPECT_EQ(answer.prompt_logprobs[i].chosen.id, i + 1);
}

TEST(EngineCore, RequestsThatCanNeverRunAreRefused) {
  Rig rig;
  auto refusal = [&](auto change) {
    Request request = MakeRequest("a", CountingPrompt(10), 10);
    change(request);
    const Status status = rig.core.CheckRequest(request);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_NE(
      refusal([](Request& r) { r.prompt_ids = CountingPrompt(400); }).find("maximum context length is 400"),
      std::string::npos);
  refusal([](Request& r) { r.prompt_ids.clear(); });
  refusal([](Request& r) { r.prompt_ids[3] = kVocab; });
  refusal([](Request& r) { r.prompt_ids[3] = -1; });
  refusal([](Request& r) { r.sampling.max_tokens = 0; });
  refusal([](Request& r) { r.sampling.min_tokens = 11; });
  refusal([](Request& r) { r.sampling.logprobs = 21; });
  refusal([](Request& r) { r.sampling.prompt_logprobs = -1; });
  refusal([](Request& r) { r.sampling.stop_token_ids = {kVocab}; });
  refusal([](Request& r) { r.sampling.stop_token_ids = CountingPrompt(kVocab); });
  refusal([](Request& r) { r.sampling.logit_bias = {{-5, 1.0f}}; });
}

// ---- Many requests ------------------------------------------------------------------------

TEST(EngineCore, SeveralCompletionsOfOnePromptComputeItOnce) {
  Rig rig;
  std::vector<Request> requests;
  for (int i = 0; i < 4; ++i) {
    requests.push_back(MakeRequest(std::to_string(i), CountingPrompt(200), 6));
    requests.back().sampling.temperature = 1;
    requests.back().sampling.seed = i;
    rig.Admit(requests.back());
  }
  rig.Run();
  for (const Request& request : requests) {
    EXPECT_EQ(rig.received[request.request_id].token_ids, Expected(request));
  }
  EXPECT_EQ(rig.core.Stats().computed_prompt_tokens, 200u + 3 * 4u);
}

TEST(EngineCore, UnseededRequestsDiffer) {
  Rig rig;
  for (const char* id : {"a", "b"}) {
    Request request = MakeRequest(id, CountingPrompt(20), 6);
    request.sampling.temperature = 1;
    rig.Admit(request);
  }
  rig.Run();
  EXPECT_NE(rig.received["a"].token_ids, rig.received["b"].token_ids);
}

TEST(EngineCore, AbortEndsAtOnceAndFreesAtTheNextBoundary) {
  EngineConfig config = SmallConfig();
  Rig rig(config, {.num_stages = 2, .cost = SimpleStepCost{.per_token_us = 100}});
  const Received& running = rig.Admit(MakeRequest("running", CountingPrompt(390), 5));
  rig.core.Tick(0);
  rig.clock.AdvanceTo(1000);
  EXPECT_EQ(rig.executor.num_in_flight(), 3);
  rig.core.Abort("running", rig.clock.now_us());
  rig.core.Abort("running", rig.clock.now_us());
  rig.core.Abort("unknown", rig.clock.now_us());
  EXPECT_EQ(running.num_finishes, 1);
  EXPECT_EQ(running.reason(), FinishReason::kAbort);
  EXPECT_GT(rig.core.Stats().kv_cache_usage, 0);  // its first chunk is being computed
  rig.Run();
  // Step 1 was in its first stage; all other chunks were skipped.
  EXPECT_EQ(rig.clock.now_us(), 6400);
  EXPECT_EQ(rig.core.Stats().kv_cache_usage, 0);
  EXPECT_EQ(rig.core.Stats().finished.at("abort"), 1u);
  EXPECT_EQ(running.num_after_finish, 0);
}

TEST(EngineCore, FailedStepEndsItsRequestsOnly) {
  SimConfig sim{.num_stages = 2};
  sim.fault = [](const Step& step) {
    return step.step_id == 3 ? SimFault{.status = Internal("kernel failed")} : SimFault{};
  };
  Rig rig(SmallConfig(), std::move(sim));
  const Received& bad = rig.Admit(MakeRequest("bad", CountingPrompt(300), 3));
  rig.Run();
  const Request request = MakeRequest("good", CountingPrompt(300), 3);
  const Received& good = rig.Admit(request);
  rig.Run();
  EXPECT_EQ(bad.reason(), FinishReason::kError);
  EXPECT_NE(bad.last.error.message().find("kernel failed"), std::string::npos);
  EXPECT_EQ(bad.num_finishes, 1);
  EXPECT_EQ(good.token_ids, Expected(request));
  EXPECT_EQ(good.last.num_cached_tokens, 128);  // the two steps before the failure
  EXPECT_TRUE(rig.core.failure().ok());
  EXPECT_EQ(rig.core.consecutive_failures(), 0);
}

TEST(EngineCore, DeadExecutorEndsEverything) {
  SimConfig sim{.num_stages = 2};
  sim.fault = [](const Step& step) {
    return step.step_id >= 2 ? SimFault{.status = Unavailable("rank 1 is gone")} : SimFault{};
  };
  Rig rig(SmallConfig(), std::move(sim));
  for (int i = 0; i < 12; ++i) rig.Admit(MakeRequest(std::to_string(i), CountingPrompt(30, 40 * i), 3));
  rig.Run();
  for (const auto& [id, answer] : rig.received) {
    EXPECT_EQ(answer.reason(), FinishReason::kError) << id;
    EXPECT_EQ(answer.num_finishes, 1);
  }
  EXPECT_EQ(rig.core.failure().code(), StatusCode::kUnavailable);
  EXPECT_EQ(rig.Admit(MakeRequest("late", CountingPrompt(30), 3)).reason(), FinishReason::kError);
  EXPECT_TRUE(rig.core.idle());
}

// ---- The pipeline ------------------------------------------------------------------------

TEST(EngineCore, StagesWorkAtTheSameTime) {
  EngineConfig config = SmallConfig();
  config.scheduler.max_num_batched_tokens = 512;
  config.scheduler.num_blocks = 2000;
  config.scheduler.max_model_len = 5000;
  config.vocab_size = 5000;
  for (const int num_stages : {2, 4}) {
    Rig rig(config, {.num_stages = num_stages, .cost = SimpleStepCost{.per_token_us = 1}});
    rig.core.StartTrace();
    const Received& answer = rig.Admit(MakeRequest("a", CountingPrompt(8 * 512), 1));
    rig.Run();
    const PipelineUse use = ComputePipelineUse(rig.core.StopTrace()->steps(), num_stages);
    EXPECT_EQ(answer.last.times.first_token_us, (8 + num_stages - 1) * 512);  // the ideal
    EXPECT_GE(use.efficiency(), 0.99 * 8 / (8 + num_stages - 1));
    // All stages but at the ends: while the first chunk enters and the last one leaves.
    EXPECT_EQ(use.time_at_us[num_stages], (8 - num_stages + 1) * 512);
  }
}

TEST(EngineCore, StageZeroRunsAheadOfASlowLastStage) {
  EngineConfig config = SmallConfig();
  config.scheduler.max_steps_in_flight = 5;
  SimConfig sim{.num_stages = 2, .cost = [](const Step&, int stage) { return stage == 0 ? 10 : 1000; }};
  Rig rig(config, std::move(sim));
  rig.core.StartTrace();
  rig.Admit(MakeRequest("a", CountingPrompt(390), 1));  // seven chunks
  rig.Run();
  const std::deque<StepRecord> steps = rig.core.StopTrace()->steps();
  ASSERT_EQ(steps.size(), 7u);
  // Five chunks have passed stage 0 before the first has passed the last stage.
  for (int i = 0; i < 5; ++i) EXPECT_EQ(steps[i].stamps[0].end_us, 10 * (i + 1));
  EXPECT_EQ(steps[5].submit_us, steps[0].result_us);
  EXPECT_EQ(steps.back().result_us, 10 + 7 * 1000);
}

TEST(EngineCore, DecodesOfManyRequestsKeepAllStagesBusy) {
  EngineConfig config = SmallConfig();
  Rig rig(config, {.num_stages = 2, .cost = SimpleStepCost{.per_step_us = 100}});
  for (int i = 0; i < 8; ++i) rig.Admit(MakeRequest(std::to_string(i), CountingPrompt(8, 100 * i), 40));
  rig.core.StartTrace();
  rig.Run();
  EXPECT_GT(ComputePipelineUse(rig.core.StopTrace()->steps(), 2).overlap_share(), 0.95);
}

// ---- Random runs ------------------------------------------------------------------------

// What should come out, by the rules of request.h, from tokens alone.
struct Answer {
  std::vector<TokenId> token_ids;
  FinishReason reason = FinishReason::kNone;
};

Answer Oracle(const Request& request, const EngineConfig& config) {
  const SamplingParams& sampling = request.sampling;
  SampleSpec spec;
  spec.params = sampling;
  spec.seed = *sampling.seed;
  spec.banned = config.eos_token_ids;
  for (TokenId id : sampling.stop_token_ids) spec.banned.push_back(id);
  const int32_t room = config.scheduler.max_seq_len() - static_cast<int32_t>(request.prompt_ids.size());
  const int32_t longest = std::min(sampling.max_tokens, room);
  const std::vector<TokenId> all = SimSampler(config.vocab_size).Generate(request.prompt_ids, spec, longest);
  Answer answer;
  std::string text;
  for (TokenId id : all) {
    answer.token_ids.push_back(id);
    text += LetterText::Letter(id);
    const bool early = static_cast<int32_t>(answer.token_ids.size()) <= sampling.min_tokens;
    const auto& eos = config.eos_token_ids;
    const bool is_eos = !sampling.ignore_eos && std::count(eos.begin(), eos.end(), id) > 0;
    const bool is_stop = std::count(sampling.stop_token_ids.begin(), sampling.stop_token_ids.end(), id) > 0;
    const bool ends_with_stop = !sampling.stop.empty() && text.ends_with(sampling.stop[0]);
    if ((!early && (is_eos || is_stop)) || ends_with_stop) {
      answer.reason = FinishReason::kStop;
      return answer;
    }
  }
  answer.reason = FinishReason::kLength;
  return answer;
}

class EngineProperty : public testing::TestWithParam<int> {
 protected:
  int32_t Draw(int n) { return static_cast<int32_t>(random_() % n); }

  EngineConfig RandomConfig() {
    EngineConfig config;
    config.vocab_size = 40;
    config.eos_token_ids = {Draw(40)};
    SchedulerConfig& scheduler = config.scheduler;
    scheduler.block_size = 1 + Draw(6);
    scheduler.num_blocks = 12 + Draw(30);
    scheduler.max_model_len = 40 + Draw(60);
    scheduler.max_num_seqs = 1 + Draw(8);
    scheduler.max_num_batched_tokens = scheduler.max_num_seqs + Draw(40);
    scheduler.max_steps_in_flight = Draw(2) ? 0 : 1 + Draw(8);
    scheduler.enable_prefix_caching = Draw(4) > 0;
    const SchedulingPolicy policies[] = {SchedulingPolicy::kFcfs, SchedulingPolicy::kPriority,
                                         SchedulingPolicy::kSrpt};
    scheduler.policy = policies[Draw(3)];
    return config;
  }

  Request RandomRequest(int i, const EngineConfig& config) {
    const int32_t prompt_len = 1 + Draw(config.scheduler.max_seq_len() - 1);
    Request request = MakeRequest(std::to_string(i), {}, 1 + Draw(60));
    for (int32_t pos = 0; pos < prompt_len; ++pos) request.prompt_ids.push_back((pos * pos) % 37);
    if (Draw(2)) request.prompt_ids[Draw(prompt_len)] = 39;
    SamplingParams& sampling = request.sampling;
    sampling.temperature = static_cast<float>(Draw(2));
    sampling.seed = Draw(4);
    sampling.min_tokens = Draw(3) ? 0 : Draw(sampling.max_tokens + 1);
    sampling.ignore_eos = Draw(3) == 0;
    if (Draw(4) == 0) sampling.stop_token_ids = {Draw(40), Draw(40)};
    if (Draw(4) == 0) sampling.stop = {std::string(1, LetterText::Letter(Draw(26)))};
    if (Draw(5) == 0) sampling.prompt_logprobs = 0;
    if (Draw(4) == 0) sampling.frequency_penalty = 1;
    request.priority = Draw(3);
    request.cache_salt = Draw(4) ? "" : "salt";
    request.report_progress = Draw(2);
    return request;
  }

  std::mt19937 random_{static_cast<uint32_t>(GetParam())};
};

TEST_P(EngineProperty, EveryRequestEndsOnceWithTheRightTokens) {
  const EngineConfig config = RandomConfig();
  const int fault_percent = Draw(3) == 0 ? 3 : 0;
  SimConfig sim{.num_stages = 1 + Draw(4)};
  sim.cost = [&](const Step& step, int) { return 1 + step.num_tokens() + Draw(20); };
  sim.fault = [&](const Step&) {
    SimFault fault;
    if (Draw(100) < fault_percent) fault.status = Internal("fault");
    if (Draw(10) == 0) fault.delay_us = Draw(500);
    return fault;
  };
  Rig rig(config, std::move(sim));
  rig.core.StartTrace();
  // Whatever is predicted, right or wrong, changes when things happen and nothing else.
  const auto set_random_cost = [this, &rig](EngineCore& core, int64_t) {
    const StageCost stage{
        .step_us = 10.0 * Draw(2000), .token_us = 0.1 * Draw(100), .pair_us = 0.1 * Draw(2)};
    if (stage.IsSound()) core.SetCost({std::vector<StageCost>(rig.executor.num_stages(), stage)});
  };

  std::vector<Request> requests;
  std::vector<TimedEvent> events;
  std::set<std::string> aborted;
  int64_t time_us = 0;
  for (int i = 0; i < 25; ++i) {
    requests.push_back(RandomRequest(i, config));
    time_us += Draw(2) * Draw(400);
    events.push_back({time_us, [&, i](EngineCore&, int64_t) { rig.Admit(requests[i]); }});
    if (Draw(8) == 0) events.push_back({time_us + Draw(100), set_random_cost});
    if (Draw(6) > 0) continue;
    const int victim = Draw(i + 1);
    aborted.insert(requests[victim].request_id);
    events.push_back({time_us + Draw(50), [&, victim](EngineCore& core, int64_t now_us) {
                        core.Abort(requests[victim].request_id, now_us);
                      }});
  }
  std::stable_sort(events.begin(), events.end(),
                   [](const TimedEvent& a, const TimedEvent& b) { return a.time_us < b.time_us; });
  rig.Run(std::move(events));

  EXPECT_EQ(rig.executor.violations(), std::vector<std::string>{});
  EXPECT_EQ(rig.core.Stats().kv_cache_usage, 0);
  EXPECT_TRUE(rig.core.idle());
  for (const Request& request : requests) {
    const Received& received = rig.received[request.request_id];
    const Answer answer = Oracle(request, config);
    ASSERT_EQ(received.num_finishes, 1) << "request " << request.request_id;
    EXPECT_EQ(received.num_after_finish, 0);
    if (received.reason() == FinishReason::kAbort || received.reason() == FinishReason::kError) {
      EXPECT_TRUE(received.reason() == FinishReason::kAbort ? aborted.contains(request.request_id)
                                                            : fault_percent > 0);
      ASSERT_LE(received.token_ids.size(), answer.token_ids.size());
      EXPECT_TRUE(std::equal(received.token_ids.begin(), received.token_ids.end(), answer.token_ids.begin()));
      continue;
    }
    EXPECT_EQ(received.progress.empty(), !request.report_progress);
    for (size_t i = 1; i < received.progress.size(); ++i) {
      EXPECT_LT(received.progress[i - 1].num_done, received.progress[i].num_done);
    }
    if (request.report_progress) {
      EXPECT_EQ(received.progress.front().num_done, received.progress.front().num_cached);
      EXPECT_EQ(received.progress.back().num_done, received.progress.back().num_tokens);
    }
    EXPECT_EQ(received.token_ids, answer.token_ids) << "request " << request.request_id;
    EXPECT_EQ(received.reason(), answer.reason);
    if (request.sampling.prompt_logprobs) {
      EXPECT_EQ(received.prompt_logprobs.size(), request.prompt_ids.size() - 1);
    }
  }
  const StepTrace trace = *rig.core.StopTrace();
  for (const StepRecord& step : trace.steps()) {
    int32_t num_tokens = 0;
    for (const ChunkRecord& chunk : step.chunks) num_tokens += chunk.len;
    ASSERT_LE(num_tokens, config.scheduler.max_num_batched_tokens);
    ASSERT_EQ(step.stamps.size(), static_cast<size_t>(rig.executor.num_stages()));
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EngineProperty, testing::Range(0, 300));

}  // namespace
}  // namespace penstock
