// SPDX-License-Identifier: Apache-2.0
#include "apps/job.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "apps/build_id.h"
#include "apps/flag_help.h"
#include "base/affinity.h"
#include "base/log.h"
#include "comm/collectives.h"
#include "pipeline/local_ranks.h"
#include "pipeline/remote_groups.h"
#include "weights/checkpoint_identity.h"

namespace penstock {
namespace {

// The first error of all processes. Process 0's own needs no "rank 0" before it, and keeps its code.
Status ShareStatus(MpiWorld& world, const Status& own) {
  const Status first = world.Share(own);
  return world.rank() == 0 && !own.ok() ? own : first;
}

// What must be the same for the processes to understand each other.
Status AgreeOnInputs(const RunConfig& run, const JobStart& start, MpiWorld& world) {
  RETURN_IF_ERROR(world.Agree("the program (version and bytes)", ProgramFingerprint()));
  RETURN_IF_ERROR(ShareStatus(world, start.ready));
  RETURN_IF_ERROR(world.Agree("the command", start.command));
  const Result<std::string> model = CheckpointFingerprint(run.model_dir);
  RETURN_IF_ERROR(ShareStatus(world, model.ok() ? OkStatus() : model.status()));
  return world.Agree(fmt::format("the model in {}", run.model_dir), *model);
}

constexpr std::chrono::milliseconds kLeaderLinger{3000};
constexpr std::chrono::milliseconds kWorkerLinger{4000};

sigset_t HintSignals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCONT);
  return set;
}

// Before MPI has threads: they inherit what is blocked. SIGTERM and SIGINT are process 0's to wait for
// (shutdown_signals.h); it ends the others, whom nobody else should end before.
void BlockSignals(bool leads) {
  sigset_t set = HintSignals();
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  if (!leads) signal(SIGTERM, SIG_IGN);
}

}  // namespace

Status Job::Start(const RunConfig& run, const JobStart& start, std::unique_ptr<Job>* job) {
  const MpiLaunch& launch = start.launch;
  if (!launch.launched()) return start.ready;
  if (launch.size != 1) BlockSignals(launch.rank == 0);
  ASSIGN_OR_RETURN(std::unique_ptr<MpiWorld> world,
                   StartMpiWorld({.launch = launch, .connect_limit_us = start.connect_limit_us}));
  if (world->size() == 1) {
    RETURN_IF_ERROR(world->Finish());
    return start.ready;
  }
  const ProcessMap map{.layout = run.layout, .num_processes = world->size()};
  // The groups are made of the layout that all agree on.
  const Status inputs = AgreeOnInputs(run, start, *world);
  const Status layout = inputs.ok() ? ShareStatus(*world, CheckProcessMap(map)) : inputs;
  job->reset(new Job(std::move(world), map, run.synchronous_sends));
  (*job)->done_ = !layout.ok();
  return layout;
}

Job::Job(std::unique_ptr<MpiWorld> world, ProcessMap map, bool synchronous_sends)
    : world_(std::move(world)), map_(map), synchronous_sends_(synchronous_sends) {
  std::vector<int> processes(world_->size());
  std::iota(processes.begin(), processes.end(), 0);
  all_ = world_->MakeCommunicator(processes);
  endpoint_ = world_->MakeEndpoint([this](int peer, int channel, const Status& status) {
    Lost(Unavailable("process {} ({}), channel {}: {}", peer, world_->host(peer), channel, status.message()));
  });
  const auto on_lost = [this](int rank, const std::string& reason) {
    if (rank < 0) return Lost(Unavailable("a process of the job is gone: {}", reason));
    Lost(Unavailable("process {} ({}) is gone: {}", rank, world_->host(rank), reason));
  };
  watch_ =
      std::make_unique<PeerWatch>(*endpoint_, world_->rank(), world_->size(), HeartbeatConfig{}, on_lost);
  ShareCores();
  hints_ = std::thread([this] { WaitForHints(); });
}

Job::~Job() {
  if (!done_) world_->Abort(1);
  ending_ = true;
  pthread_kill(hints_.native_handle(), SIGCONT);  // blocked everywhere, so that it only ends the sigwait()
  hints_.join();
  watch_.reset();
  endpoint_.reset();
  all_.reset();
  const Status status = world_->Finish();
  if (!status.ok()) {
    LogWarning("{}", status.message());
    std::_Exit(1);
  }
}

// Launchers bind each process to cores of its own, or none to any.
void Job::ShareCores() {
  const std::vector<int> own = UsableCores();
  uint64_t mask_hash = 1469598103934665603u;
  for (const int core : own) mask_hash = (mask_hash ^ static_cast<uint64_t>(core)) * 1099511628211u;
  std::vector<uint64_t> hashes(world_->size());
  AllGather(*all_, &mask_hash, sizeof(mask_hash), hashes.data());
  int same = 0, index = 0;
  for (int p = 0; p < world_->size(); ++p) {
    if (!IsHere(p) || hashes[p] != mask_hash) continue;
    if (p == process()) index = same;
    ++same;
  }
  cores_ = AssignCores(own, same, 0)[index];
  num_shared_cores_ = own.size();
  num_sharing_processes_ = same;
}

Status Job::Share(const Status& own) {
  Status first = ShareStatus(*world_, own);
  if (!first.ok()) done_ = true;
  return first;
}

int64_t Job::Min(int64_t own) {
  std::vector<int64_t> all(world_->size());
  AllGather(*all_, &own, sizeof(own), all.data());
  return *std::ranges::min_element(all);
}

std::string Job::FromLeader(const std::string& own) {
  uint64_t size = own.size();
  Broadcast(*all_, 0, &size, sizeof(size));
  std::string text = own;
  text.resize(size);
  if (size > 0) Broadcast(*all_, 0, text.data(), size);
  return text;
}

std::vector<RankGroups> Job::MakeGroups() { return MakeRemoteGroups(map_, *world_); }

RemoteRanks Job::Remote(int32_t replica) {
  return {.endpoint = endpoint_.get(),
          .map = map_,
          .process = process(),
          .replica = replica,
          .synchronous_sends = synchronous_sends_,
          .on_error = [this](const Status& status) { Lost(Unavailable("{}", status.message())); }};
}

void Job::OnLost(std::function<void(const Status& status)> on_lost) {
  std::lock_guard lock(mutex_);
  on_lost_ = std::move(on_lost);
}

// Process 0 stays for a while when its clients have been answered: an end of its own would be taken by the
// launcher for the cause, and that can only be known to it after some time that another machine is gone.
void Job::Lost(const Status& status) {
  lost_ = true;
  std::unique_lock lock(mutex_);
  const auto on_lost = on_lost_;
  lock.unlock();
  if (leads()) LogError("{}", status.message());
  if (on_lost) on_lost(status);
  std::this_thread::sleep_for(leads() ? kLeaderLinger : kWorkerLinger);
  if (leads()) LogError("The job ends: its supervisor may start it again.");
  std::_Exit(1);
}

void Job::StayIfLost() const {
  while (lost_) std::this_thread::sleep_for(kWorkerLinger);
}

// mpirun sends SIGCONT to all as soon as one has died.
void Job::WaitForHints() {
  NameThisThread("hints");
  const sigset_t set = HintSignals();
  while (true) {
    int number = 0;
    sigwait(&set, &number);
    if (ending_) return;
    watch_->Hint();
  }
}

}  // namespace penstock
