// The scheduler over an executor in virtual time, whose tokens depend on what is really in the blocks.
//
// SPDX-License-Identifier: Apache-2.0
#include "sched/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "sim/sim_executor.h"

namespace penstock {
namespace {

std::vector<TokenId> Prompt(int32_t len, TokenId first = 0) {
  std::vector<TokenId> ids(len);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

SequenceSpec Spec(SeqId id, std::vector<TokenId> prompt_ids, int32_t max_tokens) {
  SequenceSpec spec;
  spec.id = id;
  spec.prompt_ids = std::move(prompt_ids);
  spec.params.max_tokens = max_tokens;
  spec.params.temperature = 0;
  return spec;
}

// A chunk as it was submitted.
struct Sent {
  uint64_t step_id;
  SeqId seq;
  int32_t pos, len;
  bool is_decode;
  int32_t in_flight_before;
};

// Stands in for the engine: ends a sequence after params.max_tokens.
class Rig {
 public:
  Rig(SchedulerConfig config, SimConfig sim, std::unique_ptr<ChunkPlanner> planner = nullptr)
      : executor(WithSizes(config, std::move(sim)), clock),
        planner(planner ? std::move(planner) : std::make_unique<StaticChunkPlanner>()),
        scheduler(config, *this->planner) {}

  void Add(SequenceSpec spec) {
    spec.arrival_us = clock.now_us();
    specs[spec.id] = spec;
    scheduler.Add(std::move(spec));
  }

  void SubmitAll() {
    while (std::unique_ptr<Step> step = scheduler.Next()) {
      for (const Chunk& chunk : step->chunks) {
        sent.push_back(
            {step->step_id, chunk.seq, chunk.pos, chunk.len, chunk.is_decode, executor.num_in_flight()});
      }
      max_step_tokens = std::max(max_step_tokens, step->num_tokens());
      executor.Submit(std::move(step));
      max_in_flight = std::max(max_in_flight, executor.num_in_flight());
    }
  }

  void OnUpdate(SequenceUpdate update) {
    if (!update.error.ok()) {
      errors[update.seq] = update.error;
      return;
    }
    if (update.prompt_logprobs) prompt_logprobs[update.seq].push_back(*update.prompt_logprobs);
    if (!update.token) return;
    outputs[update.seq].push_back(update.token->id);
    if (static_cast<int32_t>(outputs[update.seq].size()) == specs[update.seq].params.max_tokens) {
      scheduler.End(update.seq);
    }
  }

  // Submits what can be, and goes on to the next event. False if there is none.
  bool Advance() {
    SubmitAll();
    const std::optional<int64_t> next_us = executor.NextEventUs();
    if (!next_us) return false;
    clock.AdvanceTo(std::max(*next_us, clock.now_us()));
    while (std::unique_ptr<StepResult> result = executor.Poll()) {
      for (SequenceUpdate& update : scheduler.OnResult(std::move(*result))) OnUpdate(std::move(update));
    }
    return true;
  }
  void Run() {
    while (Advance()) {
    }
  }

  std::vector<TokenId> Expected(SeqId id) const {
    const SequenceSpec& spec = specs.at(id);
    SampleSpec sample;
    sample.params = spec.params;
    sample.seed = spec.seed;
    sample.banned = spec.min_tokens_bans;
    return SimSampler(1000).Generate(spec.prompt_ids, sample, spec.params.max_tokens);
  }

  static SimConfig WithSizes(const SchedulerConfig& config, SimConfig sim) {
    sim.num_stages = config.num_stages;
    sim.num_blocks = config.num_blocks;
    sim.block_size = config.block_size;
    return sim;
  }

  VirtualClock clock;
  SimExecutor executor;
  std::unique_ptr<ChunkPlanner> planner;
  Scheduler scheduler;
  std::map<SeqId, SequenceSpec> specs;
  std::map<SeqId, std::vector<TokenId>> outputs;
  std::map<SeqId, std::vector<PromptLogprobs>> prompt_logprobs;
  std::map<SeqId, Status> errors;
  std::vector<Sent> sent;
  int32_t max_step_tokens = 0;
  int32_t max_in_flight = 0;
};

SchedulerConfig SmallConfig() {
  SchedulerConfig config;
  config.max_num_batched_tokens = 32;
  config.max_num_seqs = 8;
  config.block_size = 4;
  config.num_blocks = 64;
  config.max_model_len = 200;
  config.num_stages = 2;
  return config;
}

constexpr SchedulingPolicy kAllPolicies[] = {SchedulingPolicy::kFcfs, SchedulingPolicy::kPriority,
                                             SchedulingPolicy::kSrpt};

// `us` for a token on each of two stages, and `pair_us` for each pair of tokens.
CostModel TokenCost(double us, double pair_us = 0) {
  return {.stages = std::vector<StageCost>(2, {.token_us = us, .pair_us = pair_us})};
}

// Steps of one prompt each.
class OnePromptPlanner : public ChunkPlanner {
 public:
  std::string_view name() const override { return "one prompt"; }
  int32_t NextChunk(const ChunkQuery& query) override {
    return query.step_chunks.empty() ? query.max_len : 0;
  }
};

TEST(Scheduler, AllChunksOfAPromptAreInFlightUpToTheCap) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 100;
  config.max_steps_in_flight = 5;
  Rig rig(config, {});
  rig.Add(Spec(1, Prompt(8 * 32 - 90), 2));
  rig.SubmitAll();
  ASSERT_EQ(rig.sent.size(), 5u);  // nothing has come back
  for (int32_t i = 0; i < 5; ++i) EXPECT_EQ(rig.sent[i].pos, 32 * i);
  rig.Run();
  EXPECT_EQ(rig.outputs[1], rig.Expected(1));
  EXPECT_EQ(rig.max_in_flight, 5);
}

TEST(Scheduler, DefaultCapIsOneMoreThanStages) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(160), 1));
  rig.SubmitAll();
  EXPECT_EQ(rig.executor.num_in_flight(), 3);
}

TEST(Scheduler, ShortStepsDoNotTakeThePlaceOfLongOnes) {
  for (const bool cost_is_known : {false, true}) {
    Rig rig(SmallConfig(), {}, std::make_unique<OnePromptPlanner>());
    if (cost_is_known) rig.scheduler.SetCost(TokenCost(10));
    rig.Add(Spec(6, Prompt(32, 300), 1));
    rig.SubmitAll();
    rig.Add(Spec(7, Prompt(3), 1));
    rig.SubmitAll();
    rig.Add(Spec(8, Prompt(3, 50), 1));
    rig.SubmitAll();
    rig.Add(Spec(9, Prompt(190, 700), 1));
    rig.SubmitAll();
    EXPECT_EQ(rig.executor.num_in_flight(), cost_is_known ? 5 : 3);
    rig.Run();
  }
}

TEST(Scheduler, DecodesAreSpreadOverTheStages) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 100;
  Rig rig(config, {.cost = SimpleStepCost{.per_step_us = 100}});
  for (SeqId id = 1; id <= 6; ++id) rig.Add(Spec(id, Prompt(4, 10 * id), 40));
  rig.Run();
  std::map<uint64_t, int> decodes_by_step;
  for (const Sent& chunk : rig.sent) decodes_by_step[chunk.step_id] += chunk.is_decode;
  for (uint64_t step_id = 5; step_id < 60; ++step_id)
    EXPECT_EQ(decodes_by_step[step_id], 3) << "step " << step_id;
  // Two steps are always under way: 39 tokens of 6 sequences in 13 * 6 steps, each 100 us after the one
  // before.
  EXPECT_LT(rig.clock.now_us(), 100 * (2 * 39 + 6));
}

TEST(Scheduler, DecodesOfOneStageShareAStep) {
  SchedulerConfig config = SmallConfig();
  config.num_stages = 1;
  Rig rig(config, {});
  for (SeqId id = 1; id <= 6; ++id) rig.Add(Spec(id, Prompt(4, 10 * id), 10));
  rig.Run();
  EXPECT_EQ(rig.sent.back().step_id, 10u);
}

TEST(Scheduler, DecodesComeBeforePrefillWithinTheBudget) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(8), 20));
  while (rig.outputs[1].empty()) rig.Advance();
  rig.Add(Spec(2, Prompt(100, 500), 1));
  rig.SubmitAll();
  const uint64_t step_id = rig.sent[1].step_id;
  EXPECT_TRUE(rig.sent[1].is_decode);
  EXPECT_EQ(rig.sent[2].step_id, step_id);
  EXPECT_EQ(rig.sent[2].len, 31);
  rig.Run();
  EXPECT_EQ(rig.max_step_tokens, 32);
  for (SeqId id : {1, 2}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
}

TEST(Scheduler, LongPrefillThresholdLeavesRoomForOthers) {
  SchedulerConfig config = SmallConfig();
  config.long_prefill_token_threshold = 8;
  Rig rig(config, {});
  rig.Add(Spec(1, Prompt(100), 1));
  rig.Add(Spec(2, Prompt(20, 500), 1));
  rig.SubmitAll();
  std::map<SeqId, int32_t> first_step;
  for (const Sent& chunk : rig.sent) {
    if (chunk.step_id == 1) first_step[chunk.seq] += chunk.len;
  }
  EXPECT_EQ(first_step, (std::map<SeqId, int32_t>{{1, 8}, {2, 8}}));
}

TEST(Scheduler, CachedPrefixIsNotComputedAgain) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(40), 3));
  rig.Run();
  rig.Add(Spec(2, Prompt(40), 3));  // the same: all but the last block
  std::vector<TokenId> other = Prompt(40);
  other[21] = 7;
  rig.Add(Spec(3, other, 3));  // differs in block 5
  EXPECT_EQ(rig.scheduler.stats().waiting_prompt_tokens, 4 + 20)
      << "what is to be computed, not what is cached";
  rig.SubmitAll();
  EXPECT_EQ(rig.scheduler.Find(2)->num_cached_tokens, 36);
  EXPECT_EQ(rig.scheduler.Find(3)->num_cached_tokens, 20);
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_queries, 120u);
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 56u);
  for (SeqId id : {1, 2, 3}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
}

TEST(Scheduler, SaltsSeparateAndResetDrops) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(40), 1));
  rig.Run();
  SequenceSpec salted = Spec(2, Prompt(40), 1);
  salted.cache_salt = "tenant";
  rig.Add(salted);
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 0u);
  rig.scheduler.ResetPrefixCache();
  rig.Add(Spec(3, Prompt(40), 1));
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 0u);
}

TEST(Scheduler, BlocksAreFindableOnlyWhenTheirStepHasComeBack) {
  SchedulerConfig config = SmallConfig();
  Rig rig(config, {});
  rig.Add(Spec(1, Prompt(30), 1));
  rig.SubmitAll();
  std::vector<TokenId> longer = Prompt(30);
  const std::vector<TokenId> tail = Prompt(90, 700);  // so much more that it is not worth waiting
  longer.insert(longer.end(), tail.begin(), tail.end());
  rig.Add(Spec(2, longer, 1));
  rig.SubmitAll();
  EXPECT_EQ(rig.scheduler.Find(2)->num_cached_tokens, 0);
  rig.Run();
  for (SeqId id : {1, 2}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
}

TEST(Scheduler, SamePromptWaitsForTheOneThatComputesIt) {
  Rig rig(SmallConfig(), {});
  for (SeqId id = 1; id <= 4; ++id) {
    SequenceSpec spec = Spec(id, Prompt(60), 3);
    spec.params.temperature = 1;
    spec.seed = id;
    rig.Add(spec);
  }
  rig.Add(Spec(5, Prompt(10, 900), 1));  // goes past them
  rig.SubmitAll();
  EXPECT_EQ(rig.scheduler.stats().num_deferred, 3);
  EXPECT_EQ(rig.scheduler.Find(5)->state, SequenceState::kRunning);
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 3 * 56u);
  for (SeqId id = 1; id <= 5; ++id) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
}

TEST(Scheduler, DeferredSequencesGoOnWhenTheFirstIsCancelled) {
  Rig rig(SmallConfig(), {});
  for (SeqId id = 1; id <= 3; ++id) rig.Add(Spec(id, Prompt(60), 3));
  rig.SubmitAll();
  EXPECT_TRUE(rig.scheduler.End(1));
  rig.executor.Cancel(1);
  rig.Run();
  for (SeqId id : {2, 3}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
  EXPECT_TRUE(rig.scheduler.idle());
}

TEST(Scheduler, PromptLogprobsSkipTheCacheAndCoverThePrompt) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(70), 1));
  rig.Run();
  SequenceSpec spec = Spec(2, Prompt(70), 2);
  spec.params.prompt_logprobs = 1;
  rig.Add(spec);
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 0u);
  int32_t pos = 1;
  for (const PromptLogprobs& part : rig.prompt_logprobs[2]) {
    EXPECT_EQ(part.pos, pos);
    for (const PositionLogprobs& position : part.positions) {
      EXPECT_EQ(position.chosen.id, pos);  // Prompt() counts up
      EXPECT_EQ(position.top.size(), 1u);
      ++pos;
    }
  }
  EXPECT_EQ(pos, 70);
}

TEST(Scheduler, PreemptsTheLatestAndRecomputesIt) {
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 12;  // 48 tokens
  Rig rig(config, {});
  rig.Add(Spec(1, Prompt(16), 30));
  rig.Add(Spec(2, Prompt(16, 500), 30));
  rig.Run();
  EXPECT_GT(rig.scheduler.stats().preemptions, 0u);
  for (SeqId id : {1, 2}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
  // The first was never computed again.
  int32_t first_tokens = 0;
  for (const Sent& chunk : rig.sent) first_tokens += chunk.seq == 1 ? chunk.len : 0;
  EXPECT_EQ(first_tokens, 16 + 29);
}

TEST(Scheduler, PriorityDecidesWhoIsServedAndWhoIsPreempted) {
  for (SchedulingPolicy policy : kAllPolicies) {
    SchedulerConfig config = SmallConfig();
    config.max_num_seqs = 1;
    config.policy = policy;
    Rig rig(config, {});
    for (SeqId id = 1; id <= 3; ++id) {
      SequenceSpec spec = Spec(id, Prompt(8, 100 * id), 1);
      spec.priority = -static_cast<int32_t>(id);
      rig.Add(spec);
    }
    rig.Run();
    std::vector<SeqId> order;
    for (const Sent& chunk : rig.sent) order.push_back(chunk.seq);
    const bool by_priority = policy == SchedulingPolicy::kPriority;
    EXPECT_EQ(order, by_priority ? std::vector<SeqId>({3, 2, 1}) : std::vector<SeqId>({1, 2, 3}));
  }
  SchedulerConfig config = SmallConfig();
  config.policy = SchedulingPolicy::kPriority;
  config.num_blocks = 12;
  Rig rig(config, {});
  for (SeqId id = 1; id <= 2; ++id) {
    SequenceSpec spec = Spec(id, Prompt(16, 100 * id), 30);
    spec.priority = id == 1 ? 5 : 0;
    rig.Add(spec);
  }
  rig.SubmitAll();
  while (rig.scheduler.stats().preemptions == 0) ASSERT_TRUE(rig.Advance());
  EXPECT_EQ(rig.scheduler.Find(1)->num_preemptions, 1);
}

TEST(Scheduler, CancelledSequenceKeepsItsBlocksUntilItsStepsAreBack) {
  Rig rig(SmallConfig(), {});
  rig.Add(Spec(1, Prompt(150), 1));
  rig.SubmitAll();
  const int32_t num_held = rig.scheduler.stats().num_held_blocks;
  EXPECT_GT(num_held, 0);
  EXPECT_TRUE(rig.scheduler.End(1));
  rig.executor.Cancel(1);
  EXPECT_EQ(rig.scheduler.Find(1), nullptr);
  EXPECT_EQ(rig.scheduler.stats().num_held_blocks, num_held);
  EXPECT_EQ(rig.scheduler.Next(), nullptr);
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().num_held_blocks, 0);
  EXPECT_TRUE(rig.scheduler.idle());
  EXPECT_TRUE(rig.outputs.empty());
  EXPECT_FALSE(rig.scheduler.End(1));
}

TEST(Scheduler, FailedStepEndsItsSequencesAndCachesNothing) {
  SimConfig sim;
  sim.fault = [](const Step& step) {
    return step.step_id == 2 ? SimFault{.status = Internal("kernel failed")} : SimFault{};
  };
  Rig rig(SmallConfig(), std::move(sim));
  rig.Add(Spec(1, Prompt(90), 2));
  rig.Run();
  EXPECT_EQ(rig.errors[1].message(), "step 2: kernel failed");
  EXPECT_TRUE(rig.scheduler.idle());
  EXPECT_EQ(rig.scheduler.stats().num_held_blocks, 0);
  rig.Add(Spec(2, Prompt(90), 2));
  rig.Run();
  EXPECT_EQ(rig.scheduler.stats().prefix_cache_hits, 32u);  // of step 1 only
  EXPECT_EQ(rig.outputs[2], rig.Expected(2));
}

TEST(Scheduler, LostTokenEndsItsSequence) {
  SimConfig sim;
  sim.fault = [](const Step& step) { return SimFault{.status = {}, .lose_token = step.step_id == 2}; };
  Rig rig(SmallConfig(), std::move(sim));
  rig.Add(Spec(1, Prompt(8), 5));
  rig.Run();
  EXPECT_EQ(rig.errors[1].code(), StatusCode::kInternal);
  EXPECT_EQ(rig.scheduler.stats().num_held_blocks, 0);
}

TEST(Scheduler, SampleSpecFollowsTheContract) {
  StaticChunkPlanner planner;
  SchedulerConfig config = SmallConfig();
  Scheduler scheduler(config, planner);
  SequenceSpec spec = Spec(1, Prompt(40), 5);
  spec.params.min_tokens = 1;
  spec.params.presence_penalty = 0.5f;
  spec.params.stop = {"stop"};
  spec.min_tokens_bans = {3, 4};
  spec.seed = 99;
  scheduler.Add(spec);
  std::unique_ptr<Step> first = scheduler.Next();
  std::unique_ptr<Step> second = scheduler.Next();
  EXPECT_FALSE(first->chunks[0].sample.has_value());  // not the last chunk
  ASSERT_TRUE(second->chunks[0].sample.has_value());
  EXPECT_EQ(second->chunks[0].block_ids.size(), 10u);
  const SampleSpec& sample = *second->chunks[0].sample;
  EXPECT_EQ(sample.banned, (std::vector<TokenId>{3, 4}));
  EXPECT_EQ(sample.seed, 99u);
  EXPECT_EQ(sample.draw_idx, 0u);
  EXPECT_EQ(sample.prompt_ids, Prompt(40));
  EXPECT_TRUE(sample.output_ids.empty());

  StepResult result;
  result.step_id = 1;
  EXPECT_TRUE(scheduler.OnResult(result).empty());
  result.step_id = 2;
  result.tokens.push_back({.seq = 1, .id = 77, .logprobs = {}});
  EXPECT_EQ(scheduler.OnResult(result).size(), 1u);
  std::unique_ptr<Step> decode = scheduler.Next();
  const Chunk& chunk = decode->chunks[0];
  EXPECT_TRUE(chunk.is_decode);
  EXPECT_EQ(chunk.pos, 40);
  EXPECT_EQ(chunk.token_ids, std::vector<TokenId>{77});
  EXPECT_TRUE(chunk.sample->banned.empty());  // min_tokens is reached
  EXPECT_EQ(chunk.sample->draw_idx, 1u);
  EXPECT_EQ(chunk.sample->output_ids, std::vector<TokenId>{77});
}

TEST(Scheduler, RefusesWhatCanNeverRun) {
  StaticChunkPlanner planner;
  SchedulerConfig config = SmallConfig();
  Scheduler scheduler(config, planner);
  EXPECT_TRUE(scheduler.CheckPromptLength(199).ok());
  EXPECT_EQ(scheduler.CheckPromptLength(200).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(scheduler.CheckPromptLength(0).code(), StatusCode::kInvalidArgument);
  config.num_blocks = 10;
  Scheduler small(config, planner);
  EXPECT_TRUE(small.CheckPromptLength(39).ok());
  const Status status = small.CheckPromptLength(40);
  EXPECT_NE(status.message().find("40 tokens (10 blocks of 4)"), std::string::npos) << status.message();
}

TEST(Scheduler, ConfigIsValidated) {
  SchedulerConfig config = SmallConfig();
  EXPECT_TRUE(config.Validate().ok());
  config.max_num_batched_tokens = 7;
  EXPECT_NE(config.Validate().message().find("max_num_seqs (8)"), std::string::npos);
  config = SmallConfig();
  config.num_blocks = 0;
  EXPECT_NE(config.Validate().message().find("num_blocks is 0"), std::string::npos);
}

// A planner that says no as often as it may.
class ReluctantPlanner : public ChunkPlanner {
 public:
  std::string_view name() const override { return "reluctant"; }
  bool MayServe(SeqId) const override { return false; }
  int32_t NextChunk(const ChunkQuery&) override { return 0; }
};

TEST(Scheduler, PlannerCannotStopTheEngine) {
  ReluctantPlanner planner;
  Scheduler scheduler(SmallConfig(), planner);
  scheduler.Add(Spec(1, Prompt(2), 1));
  std::unique_ptr<Step> step = scheduler.Next();
  ASSERT_NE(step, nullptr);
  EXPECT_EQ(step->num_tokens(), 2);
  EXPECT_EQ(scheduler.Next(), nullptr);
}

// ---- The order of prompts ------------------------------------------------------------------------

// The sequences of each step that has been submitted, in the order in which they are in it.
std::vector<SeqId> SequencesOf(const Rig& rig, uint64_t step_id) {
  std::vector<SeqId> seqs;
  for (const Sent& chunk : rig.sent) {
    if (chunk.step_id == step_id) seqs.push_back(chunk.seq);
  }
  return seqs;
}

TEST(Scheduler, AShortPromptIsInTheNextStepOfALongOne) {
  for (SchedulingPolicy policy : kAllPolicies) {
    SchedulerConfig config = SmallConfig();
    config.policy = policy;
    Rig rig(config, {.cost = SimpleStepCost{.per_step_us = 100}});
    rig.scheduler.SetCost(TokenCost(10));
    rig.Add(Spec(1, Prompt(190), 1));
    for (int i = 0; i < 3; ++i) rig.Advance();  // it has chunks behind it, and more to come
    const uint64_t next_step = rig.sent.back().step_id + 1;
    rig.Add(Spec(2, Prompt(8, 500), 1));
    rig.Run();
    const bool srpt = policy == SchedulingPolicy::kSrpt;
    EXPECT_EQ(SequencesOf(rig, next_step), srpt ? std::vector<SeqId>({2, 1}) : std::vector<SeqId>({1}));
    for (SeqId id : {1, 2}) EXPECT_EQ(rig.outputs[id], rig.Expected(id));
  }
}

TEST(Scheduler, ABetterPriorityOvertakesAPromptThatRuns) {
  SchedulerConfig config = SmallConfig();
  config.policy = SchedulingPolicy::kPriority;
  Rig rig(config, {.cost = SimpleStepCost{.per_step_us = 100}});
  rig.Add(Spec(1, Prompt(190), 1));
  rig.SubmitAll();
  const uint64_t next_step = rig.sent.back().step_id + 1;
  SequenceSpec urgent = Spec(2, Prompt(8, 500), 1);
  urgent.priority = -1;
  rig.Add(urgent);
  rig.Run();
  EXPECT_EQ(SequencesOf(rig, next_step), std::vector<SeqId>({2, 1}));
}

TEST(Scheduler, TheShortestRemainingWorkComesFirstWhateverItsTokens) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  config.num_blocks = 200;
  Rig rig(config, {});
  rig.Add(Spec(9, Prompt(40), 1));
  rig.Run();  // the first 36 tokens of prompt 1 are cached
  rig.scheduler.SetCost(TokenCost(1, 1));
  rig.Add(Spec(1, Prompt(80), 1));        // 44 tokens, but behind 36
  rig.Add(Spec(2, Prompt(60, 500), 1));   // 60, which cost less than those
  rig.Add(Spec(3, Prompt(120, 900), 1));  // the most of all
  rig.Add(Spec(4, Prompt(4, 300), 1));
  rig.Run();
  std::vector<SeqId> order;
  for (const Sent& chunk : rig.sent) {
    if (order.empty() || order.back() != chunk.seq) order.push_back(chunk.seq);
  }
  EXPECT_EQ(order, std::vector<SeqId>({9, 4, 2, 1, 3}));
}

TEST(Scheduler, ANewCostModelReordersWhatWaits) {
  SchedulerConfig config = SmallConfig();
  config.max_num_seqs = 1;
  Rig rig(config, {});
  rig.Add(Spec(1, Prompt(40), 1));
  rig.clock.AdvanceTo(500);
  rig.Add(Spec(2, Prompt(8, 500), 1));
  rig.scheduler.SetCost(TokenCost(1));  // the 500 us that 1 has waited count for more than its 32 us
  rig.Run();
  EXPECT_EQ(rig.sent[0].seq, 1u);
}

// Keeps what the scheduler says of each step.
class ListeningPlanner : public StaticChunkPlanner {
 public:
  void BeginStep(const StepQuery& query) override {
    demands.assign(query.prefills.begin(), query.prefills.end());
    asked.clear();
  }
  int32_t NextChunk(const ChunkQuery& query) override {
    asked.push_back(query.seq);
    return StaticChunkPlanner::NextChunk(query);
  }
  std::vector<PrefillDemand> demands;
  std::vector<SeqId> asked;
};

TEST(Scheduler, ThePlannerHearsOfPromptsInTheOrderOfServiceWithTheirExpectedHits) {
  auto planner = std::make_unique<ListeningPlanner>();
  ListeningPlanner& heard = *planner;
  SchedulerConfig config = SmallConfig();
  config.max_num_batched_tokens = 64;
  Rig rig(config, {.cost = SimpleStepCost{.per_step_us = 100}}, std::move(planner));
  rig.scheduler.SetCost(TokenCost(1));
  rig.Add(Spec(1, Prompt(40), 1));
  rig.Run();
  rig.Add(Spec(2, Prompt(190, 100), 1));
  ASSERT_NE(rig.scheduler.Next(), nullptr);
  rig.Add(Spec(3, Prompt(150, 400), 1));
  rig.Add(Spec(4, Prompt(46), 1));
  ASSERT_NE(rig.scheduler.Next(), nullptr);
  ASSERT_EQ(heard.demands.size(), 3u);
  const PrefillDemand expected[] = {{4, 40, 6, false}, {2, 64, 126, true}, {3, 0, 150, false}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(heard.demands[i].seq, expected[i].seq);
    EXPECT_EQ(heard.demands[i].pos, expected[i].pos);
    EXPECT_EQ(heard.demands[i].remaining, expected[i].remaining);
    EXPECT_EQ(heard.demands[i].is_running, expected[i].is_running);
  }
  EXPECT_EQ(heard.asked, std::vector<SeqId>({4, 2}));  // the budget ends there
}

// However many short prompts keep coming, a long one that has waited remaining / ageing comes before all that
// arrive from then on.
class AgeingProperty : public testing::TestWithParam<int> {};

TEST_P(AgeingProperty, NobodyArrivesBeforeALongPromptForEver) {
  std::mt19937 random(GetParam());
  auto draw = [&](int n) { return static_cast<int32_t>(random() % n); };
  SchedulerConfig config = SmallConfig();
  config.num_blocks = 400;
  config.max_model_len = 1000;
  config.srpt_ageing = 0.05 * (1 + draw(20));
  constexpr double kTokenUs = 10;
  Rig rig(config, {.cost = SimpleStepCost{.per_token_us = kTokenUs}});
  rig.scheduler.SetCost(TokenCost(kTokenUs));
  const int32_t long_len = 200 + draw(600);
  rig.Add(Spec(1, Prompt(long_len), 1));
  const double work_us = kTokenUs * long_len;
  const double bound_us = work_us / config.srpt_ageing;

  std::map<SeqId, int64_t> arrivals;
  SeqId next_id = 2;
  while (rig.outputs[1].empty()) {
    ASSERT_LT(rig.clock.now_us(), 4 * bound_us + 4 * work_us) << "starved";
    // More than can be served: enough for every step to be full of them.
    while (rig.scheduler.stats().num_waiting < 40) {
      arrivals[next_id] = rig.clock.now_us();
      rig.Add(Spec(next_id, Prompt(8 + draw(24), 1000 + 50 * (next_id % 100)), 1));
      ++next_id;
    }
    rig.Advance();
  }
  // By the time it ended it had not been overtaken by any that came after the bound.
  for (const Sent& chunk : rig.sent) {
    if (chunk.seq == 1) continue;
    EXPECT_LE(arrivals[chunk.seq], bound_us + 2000) << "sequence " << chunk.seq;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgeingProperty, testing::Range(0, 30));

// ---- Random runs ------------------------------------------------------------------------

class SchedulerProperty : public testing::TestWithParam<int> {};

// Chunks of any length, sometimes none.
class RandomPlanner : public ChunkPlanner {
 public:
  explicit RandomPlanner(int seed) : random_(seed) {}
  std::string_view name() const override { return "random"; }
  int32_t NextChunk(const ChunkQuery& query) override { return random_() % (query.max_len + 1); }

 private:
  std::mt19937 random_;
};

TEST_P(SchedulerProperty, OutputsAreThoseOfAnUnconstrainedRun) {
  std::mt19937 random(GetParam());
  auto draw = [&](int n) { return static_cast<int32_t>(random() % n); };
  SchedulerConfig config;
  config.block_size = 1 + draw(6);
  config.num_blocks = 12 + draw(30);
  config.max_model_len = 40 + draw(60);
  config.max_num_seqs = 1 + draw(8);
  config.max_num_batched_tokens = config.max_num_seqs + draw(40);
  config.num_stages = 1 + draw(4);
  config.max_steps_in_flight = draw(2) ? 0 : 1 + draw(8);
  config.long_prefill_token_threshold = draw(3) ? 0 : 1 + draw(20);
  config.enable_prefix_caching = draw(4) > 0;
  config.policy = kAllPolicies[draw(3)];
  config.srpt_ageing = draw(2) ? 0.1 : 0.01 * (1 + draw(1000));
  const int32_t longest = config.max_seq_len();
  std::set<SeqId> cancelled;
  const bool cancels = draw(2);

  SimConfig sim;
  sim.cost = [&](const Step& step, int) { return 1 + step.num_tokens() + draw(30); };
  Rig rig(config, std::move(sim), draw(2) ? std::make_unique<RandomPlanner>(GetParam()) : nullptr);

  SeqId next_id = 1;
  const SeqId num_seqs = 20;
  auto add_random = [&] {
    const int32_t prompt_len = 1 + draw(longest - 1);
    // A few documents, cut at random, share prefixes.
    std::vector<TokenId> prompt_ids = Prompt(prompt_len, 100 * draw(3));
    if (draw(3) == 0) prompt_ids.back() = 999;
    SequenceSpec spec = Spec(next_id, std::move(prompt_ids), 1 + draw(longest - prompt_len));
    spec.params.temperature = static_cast<float>(draw(2));
    spec.seed = draw(3);
    spec.priority = draw(3);
    if (draw(4) == 0) spec.params.prompt_logprobs = 0;
    if (draw(4) == 0) spec.params.repetition_penalty = 1.5f;
    spec.params.min_tokens = draw(spec.params.max_tokens + 1);
    spec.min_tokens_bans = {draw(1000), draw(1000)};
    ++next_id;
    rig.Add(std::move(spec));
  };
  auto set_random_cost = [&] {
    const std::vector<StageCost> stages(
        config.num_stages, {.token_us = 0.1 * draw(50), .floor_us = 1, .pair_us = 0.1 * draw(2)});
    rig.scheduler.SetCost({.stages = stages});
  };

  while (next_id <= num_seqs || !rig.scheduler.idle()) {
    while (next_id <= num_seqs && (rig.scheduler.idle() || draw(4) == 0)) add_random();
    if (cancels && draw(10) == 0) {
      const SeqId id = 1 + draw(next_id - 1);
      if (rig.scheduler.Find(id)) cancelled.insert(id);
      if (rig.scheduler.End(id)) rig.executor.Cancel(id);
    }
    if (draw(20) == 0) set_random_cost();
    const bool any = rig.Advance();
    ASSERT_TRUE(any || rig.scheduler.idle()) << "nothing in flight, and sequences waiting";
  }

  EXPECT_EQ(rig.executor.violations(), std::vector<std::string>{});
  EXPECT_LE(rig.max_step_tokens, config.max_num_batched_tokens);
  EXPECT_LE(rig.max_in_flight, rig.scheduler.config().max_steps_in_flight + config.num_stages);
  EXPECT_EQ(rig.scheduler.stats().num_held_blocks, 0);
  EXPECT_TRUE(rig.errors.empty());
  for (const auto& [id, spec] : rig.specs) {
    if (!cancelled.contains(id)) {
      EXPECT_EQ(rig.outputs[id], rig.Expected(id)) << "sequence " << id;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerProperty, testing::Range(0, 300));

}  // namespace
}  // namespace penstock
