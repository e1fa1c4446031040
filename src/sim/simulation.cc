// Everything happens in one engine, one after the other: warm-up, the shared prefix, the requests that count.
//
// SPDX-License-Identifier: Apache-2.0
#include "sim/simulation.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
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
             const PlannerFactory& make_planner);

  SimulationReport Run();

 private:
  struct Replica {
    std::unique_ptr<SimExecutor> executor;
    std::unique_ptr<Executor> port;  // in lock step
    std::unique_ptr<EngineCore> core;
    StepTrace trace = StepTrace(SIZE_MAX);
  };

  void AddReplica(int32_t num_blocks, std::unique_ptr<ChunkPlanner> planner);
  SimConfig MakeSimConfig(int32_t num_blocks);
  EngineConfig MakeEngineConfig(int32_t num_blocks) const;
  std::vector<RequestOutput> Send(TrafficSource& source);
  void SendToEach(const Traffic& traffic);
  void Observe(const Step& step, const StepResult& result, int64_t submit_us, StepTrace& trace);
  void AddUse();

  const SimulationConfig& config_;
  const Traffic& traffic_;
  VirtualClock clock_;
  NoTexts texts_;
  std::optional<LockStep> lock_step_;
  std::deque<Replica> replicas_;
  std::vector<SimReplica> drivers_;
  TokenId next_own_id_ = 1;
  bool counts_ = false;   // what happens now is part of the report
  int64_t start_us_ = 0;  // of what counts
  SimulationReport report_;
};

Simulation::Simulation(const SimulationConfig& config, const Traffic& traffic, int32_t num_blocks,
                       const PlannerFactory& make_planner)
    : config_(config), traffic_(traffic) {
  if (config.joint_cost)
    lock_step_.emplace(config.num_replicas, config.cost.num_stages(), config.joint_cost, clock_);
  for (int replica = 0; replica < config.num_replicas; ++replica) AddReplica(num_blocks, make_planner());
}

void Simulation::AddReplica(int32_t num_blocks, std::unique_ptr<ChunkPlanner> planner) {
  report_.policy = planner->name();
  Replica& replica = replicas_.emplace_back();
  SimConfig sim = MakeSimConfig(num_blocks);
  const int idx = static_cast<int>(replicas_.size()) - 1;
  if (lock_step_) sim.cost = lock_step_->CostOf(idx);
  sim.observer = [this, &replica](const Step& step, const StepResult& result, int64_t submit_us) {
    if (counts_) Observe(step, result, submit_us, replica.trace);
  };
  replica.executor = std::make_unique<SimExecutor>(std::move(sim), clock_);
  if (lock_step_) replica.port = lock_step_->MakePort(idx, *replica.executor);
  Executor& executor = lock_step_ ? *replica.port : *replica.executor;
  replica.core =
      std::make_unique<EngineCore>(MakeEngineConfig(num_blocks), executor, texts_, std::move(planner));
  replica.core->SetCost(config_.cost);
  drivers_.push_back({replica.core.get(), replica.executor.get()});
}

SimConfig Simulation::MakeSimConfig(int32_t num_blocks) {
  SimConfig sim;
  sim.num_stages = config_.cost.num_stages();
  sim.num_blocks = num_blocks;
  sim.block_size = config_.block_size;
  sim.cost = config_.step_cost ? config_.step_cost : MakeStepCost(config_.cost);
  if (config_.noise > 0) sim.cost = WithNoise(std::move(sim.cost), config_.noise, config_.seed);
  sim.transfer_us = config_.transfer_us;
  sim.track_contents = false;
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

// Lets engines that have nothing to do answer these requests.
std::vector<RequestOutput> Simulation::Send(TrafficSource& source) {
  RunUntilIdle(drivers_, lock_step_ ? &*lock_step_ : nullptr, clock_, source);
  for (const Replica& replica : replicas_) {
    const std::vector<std::string>& violations = replica.executor->violations();
    CHECK(violations.empty()) << violations.front();
  }
  CHECK_EQ(source.num_ended(), source.outputs().size());
  for (const RequestOutput& output : source.outputs()) CHECK(output.error.ok()) << output.error.message();
  return source.outputs();
}

void Simulation::SendToEach(const Traffic& traffic) {
  for (size_t replica = 0; replica < replicas_.size(); ++replica) {
    TrafficSource source(traffic, clock_.now_us(), config_.block_size, next_own_id_);
    source.SendTo(replica);
    Send(source);
  }
  next_own_id_ += static_cast<TokenId>(traffic.requests.size());
}

void Simulation::Observe(const Step& step, const StepResult& result, int64_t submit_us, StepTrace& trace) {
  StepResult shifted;
  shifted.step_id = result.step_id;
  shifted.stamps = result.stamps;
  for (StageStamp& stamp : shifted.stamps) {
    stamp.recv_us -= start_us_;
    stamp.begin_us -= start_us_;
    stamp.end_us -= start_us_;
  }
  trace.OnSubmit(step, submit_us - start_us_);
  trace.OnResult(shifted, clock_.now_us() - start_us_);
}

SimulationReport Simulation::Run() {
  const SimRequest full{.prompt_len = LongestPrompt(traffic_)};
  if (config_.num_warm_up > 0) {
    SendToEach({.requests = std::vector<SimRequest>(config_.num_warm_up, full), .num_clients = 1});
  }
  if (const int32_t len = LongestCached(traffic_); len > 0) {
    const int32_t shared_len = CeilDiv(len, config_.block_size) * config_.block_size;
    SendToEach({.requests = {{.prompt_len = shared_len + 1, .cached_len = shared_len}}});
  }

  counts_ = true;
  start_us_ = clock_.now_us();
  BacklogRouter router(config_.cost, replicas_.size());
  TrafficSource source(traffic_, start_us_, config_.block_size, next_own_id_);
  if (replicas_.size() > 1) source.SendTo(router);
  for (const RequestOutput& output : Send(source)) {
    const RequestTimes& times = output.times;
    const auto seconds = [](int64_t us) { return static_cast<double>(us) / kUsPerSecond; };
    report_.requests.push_back({.prompt_len = output.num_prompt_tokens,
                                .cached_len = output.num_cached_tokens,
                                .output_len = output.num_output_tokens,
                                .arrival_s = seconds(times.arrival_us - start_us_),
                                .ttft_s = seconds(times.first_token_us - times.arrival_us),
                                .e2e_s = seconds(times.finish_us - times.arrival_us),
                                .chunks = output.chunk_lens});
  }
  AddUse();
  report_.trace = std::move(replicas_.front().trace);
  for (size_t idx = 1; idx < replicas_.size(); ++idx)
    report_.other_traces.push_back(std::move(replicas_[idx].trace));
  return std::move(report_);
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
  const auto num_replicas = static_cast<double>(replicas_.size());
  if (span_us > 0) report_.efficiency = pure_us / (num_stages * num_replicas * span_us);
  report_.stage_busy_share.resize(num_stages);
  if (report_.duration_s <= 0) return;
  for (const Replica& replica : replicas_) {
    const PipelineUse use = ComputePipelineUse(replica.trace.steps(), num_stages);
    for (int stage = 0; stage < num_stages; ++stage) {
      report_.stage_busy_share[stage] +=
          static_cast<double>(use.stage_busy_us[stage]) / kUsPerSecond / report_.duration_s / num_replicas;
    }
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

int64_t SimulationReport::num_steps() const {
  size_t num_steps = trace.steps().size();
  for (const StepTrace& other : other_traces) num_steps += other.steps().size();
  return static_cast<int64_t>(num_steps);
}

Result<SimulationReport> Simulate(const SimulationConfig& config, const Traffic& traffic,
                                  const PlannerFactory& make_planner) {
  CHECK(config.cost.known() && !traffic.requests.empty() && config.num_replicas >= 1);
  ASSIGN_OR_RETURN(const int32_t num_blocks, NumBlocks(config, traffic));
  return Simulation(config, traffic, num_blocks, make_planner).Run();
}

Result<SimulationReport> Simulate(const SimulationConfig& config, const Traffic& traffic,
                                  std::unique_ptr<ChunkPlanner> planner) {
  CHECK(planner != nullptr && config.num_replicas == 1);
  return Simulate(config, traffic, [&] { return std::move(planner); });
}

}  // namespace penstock
