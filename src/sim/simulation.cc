// Everything happens in one engine, one after the other: warm-up, the shared prefix, the requests that count.
//
// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "plan/prompt_plan.h"
#include "sim/cost_model_step_cost.h"
#include "sim/run_until_idle.h"
#include "sim/sim_executor.h"
#include "sim/traffic_source.h"

namespace penstock {
namespace {

constexpr double kUsPerSecond = 1e6;
constexpr int64_t kMostBlocks = 8 << 20;

class NoTexts : public TokenTextFactory {
 public:
  std::unique_ptr<TokenText> Make(std::span<const TokenId>, const SamplingParams&) override {
    CHECK(false) << "simulated requests have no text";
    return nullptr;
  }
};

int32_t LongestPrompt(const Traffic& traffic) {
  int32_t longest = 0;
  for (const SimRequest& request : traffic.requests) longest = std::max(longest, request.prompt_len);
  return longest;
}

int32_t LongestCached(const Traffic& traffic) {
  int32_t longest = 0;
  for (const SimRequest& request : traffic.requests) longest = std::max(longest, request.cached_len);
  return longest;
}

// The prefix, room for everything that can run at once, and, where blocks of ended requests stay cached, room
// for those of all requests, so that the prefix is not evicted.
Result<int32_t> NumBlocks(const SimulationConfig& config, const Traffic& traffic) {
  const int32_t prefix_len = LongestCached(traffic);
  std::vector<int64_t> needs;
  for (const SimRequest& request : traffic.requests) {
    const int64_t tokens = int64_t{request.prompt_len} - request.cached_len + request.output_len;
    needs.push_back(tokens / config.block_size + 3);
  }
  std::sort(needs.begin(), needs.end(), std::greater<>());
  if (prefix_len == 0) needs.resize(std::min<size_t>(needs.size(), config.max_num_seqs));
  const int64_t warm_up = config.num_warm_up * (LongestPrompt(traffic) / config.block_size + 2);
  int64_t blocks = prefix_len / config.block_size + 2 + warm_up;
  for (int64_t need : needs) blocks += need;
  if (blocks > kMostBlocks) {
    return InvalidArgument(
        "block size: got {}, with which the requests need {} blocks, expected a size with which they need at "
        "most {}",
        config.block_size, blocks, kMostBlocks);
  }
  return static_cast<int32_t>(blocks);
}

class Simulation {
 public:
  Simulation(const SimulationConfig& config, const Traffic& traffic, int32_t num_blocks,
             std::unique_ptr<ChunkPlanner> planner)
      : config_(config),
        traffic_(traffic),
        policy_(planner->name()),
        executor_(MakeSimConfig(num_blocks), clock_),
        core_(MakeEngineConfig(num_blocks), executor_, texts_, std::move(planner)) {
    core_.SetCost(config.cost);
  }

  SimulationReport Run();

 private:
  SimConfig MakeSimConfig(int32_t num_blocks);
  EngineConfig MakeEngineConfig(int32_t num_blocks) const;
  std::vector<RequestOutput> Send(const Traffic& traffic);
  void Observe(const Step& step, const StepResult& result, int64_t submit_us);
  void AddChunks();
  void AddUse();

  const SimulationConfig& config_;
  const Traffic& traffic_;
  const std::string policy_;
  VirtualClock clock_;
  SimExecutor executor_;
  NoTexts texts_;
  EngineCore core_;
  TokenId next_own_id_ = 1;
  SeqId num_admitted_ = 0;
  bool counts_ = false;   // what happens now is part of the report
  int64_t start_us_ = 0;  // of what counts
  SeqId first_seq_ = 0;   // of what counts
  SimulationReport report_;
};

SimConfig Simulation::MakeSimConfig(int32_t num_blocks) {
  SimConfig sim;
  sim.num_stages = config_.cost.num_stages();
  sim.num_blocks = num_blocks;
  sim.block_size = config_.block_size;
  sim.cost = MakeStepCost(config_.cost, config_.noise, config_.seed);
  sim.track_contents = false;
  sim.observer = [this](const Step& step, const StepResult& result, int64_t submit_us) {
    if (counts_) Observe(step, result, submit_us);
  };
  return sim;
}

EngineConfig Simulation::MakeEngineConfig(int32_t num_blocks) const {
  EngineConfig engine;
  engine.vocab_size = std::numeric_limits<int32_t>::max();
  engine.scheduler.max_num_batched_tokens = config_.max_num_batched_tokens;
  engine.scheduler.max_num_seqs = std::min(config_.max_num_seqs, config_.max_num_batched_tokens);
  engine.scheduler.block_size = config_.block_size;
  engine.scheduler.num_blocks = num_blocks;
  engine.scheduler.max_model_len = MaxModelLen(config_, traffic_);
  engine.scheduler.policy = config_.scheduling;
  engine.scheduler.enable_prefix_caching = LongestCached(traffic_) > 0;  // else hashing would be in vain
  return engine;
}

// Lets an engine that has nothing to do answer these requests.
std::vector<RequestOutput> Simulation::Send(const Traffic& traffic) {
  TrafficSource source(traffic, clock_.now_us(), config_.block_size, next_own_id_);
  next_own_id_ += static_cast<TokenId>(traffic.requests.size());
  num_admitted_ += traffic.requests.size();
  RunUntilIdle(core_, executor_, clock_, source);
  CHECK_EQ(source.num_ended(), traffic.requests.size());
  CHECK(executor_.violations().empty()) << executor_.violations().front();
  for (const RequestOutput& output : source.outputs()) CHECK(output.error.ok()) << output.error.message();
  return source.outputs();
}

void Simulation::Observe(const Step& step, const StepResult& result, int64_t submit_us) {
  StepResult shifted;
  shifted.step_id = result.step_id;
  shifted.stamps = result.stamps;
  for (StageStamp& stamp : shifted.stamps) {
    stamp.recv_us -= start_us_;
    stamp.begin_us -= start_us_;
    stamp.end_us -= start_us_;
  }
  report_.trace.OnSubmit(step, submit_us - start_us_);
  report_.trace.OnResult(shifted, clock_.now_us() - start_us_);
}

SimulationReport Simulation::Run() {
  const SimRequest full{.prompt_len = LongestPrompt(traffic_)};
  if (config_.num_warm_up > 0) {
    Send({.requests = std::vector<SimRequest>(config_.num_warm_up, full), .num_clients = 1});
  }
  if (const int32_t len = LongestCached(traffic_); len > 0) {
    const int32_t shared_len = CeilDiv(len, config_.block_size) * config_.block_size;
    Send({.requests = {{.prompt_len = shared_len + 1, .cached_len = shared_len}}});
  }

  counts_ = true;
  start_us_ = clock_.now_us();
  first_seq_ = num_admitted_ + 1;
  const std::vector<RequestOutput> outputs = Send(traffic_);
  report_.policy = policy_;
  for (const RequestOutput& output : outputs) {
    const RequestTimes& times = output.times;
    const auto seconds = [](int64_t us) { return static_cast<double>(us) / kUsPerSecond; };
    report_.requests.push_back({.prompt_len = output.num_prompt_tokens,
                                .cached_len = output.num_cached_tokens,
                                .output_len = output.num_output_tokens,
                                .arrival_s = seconds(times.arrival_us - start_us_),
                                .ttft_s = seconds(times.first_token_us - times.arrival_us),
                                .e2e_s = seconds(times.finish_us - times.arrival_us),
                                .chunks = {}});
  }
  AddChunks();
  AddUse();
  return std::move(report_);
}

// The engine counts its sequences in the order in which they are admitted.
void Simulation::AddChunks() {
  for (const StepRecord& step : report_.trace.steps()) {
    for (const ChunkRecord& chunk : step.chunks) {
      if (!chunk.is_decode) report_.requests.at(chunk.seq - first_seq_).chunks.push_back(chunk.len);
    }
  }
}

void Simulation::AddUse() {
  double begin_s = report_.requests[0].arrival_s, end_s = 0, pure_us = 0;
  for (const SimulatedRequest& request : report_.requests) {
    begin_s = std::min(begin_s, request.arrival_s);
    end_s = std::max(end_s, request.arrival_s + request.e2e_s);
    pure_us += config_.cost.PureWorkUs(request.cached_len, request.prompt_len - request.cached_len);
  }
  report_.duration_s = end_s - begin_s;
  const bool alone = report_.requests.size() == 1;
  const double span_us = (alone ? report_.requests[0].ttft_s : report_.duration_s) * kUsPerSecond;
  const int num_stages = config_.cost.num_stages();
  if (span_us > 0) report_.efficiency = pure_us / (num_stages * span_us);
  const PipelineUse use = ComputePipelineUse(report_.trace.steps(), num_stages);
  for (int64_t busy_us : use.stage_busy_us) {
    const double busy_s = static_cast<double>(busy_us) / kUsPerSecond;
    report_.stage_busy_share.push_back(report_.duration_s > 0 ? busy_s / report_.duration_s : 0);
  }
}

}  // namespace

// A block more than requests need: the prefix that they share is whole blocks.
int32_t MaxModelLen(const SimulationConfig& config, const Traffic& traffic) {
  int32_t longest = 0;
  for (const SimRequest& request : traffic.requests)
    longest = std::max(longest, request.prompt_len + request.output_len);
  return longest + config.block_size + 1;
}

Result<SimulationReport> Simulate(const SimulationConfig& config, const Traffic& traffic,
                                  std::unique_ptr<ChunkPlanner> planner) {
  CHECK(config.cost.known() && !traffic.requests.empty() && planner != nullptr);
  ASSIGN_OR_RETURN(const int32_t num_blocks, NumBlocks(config, traffic));
  return Simulation(config, traffic, num_blocks, std::move(planner)).Run();
}

}  // namespace penstock
