// Job: the processes that an MPI launcher has started together as this command, as one of them sees it.
//
//   process 0    the command itself: engine, server, its own ranks
//   the others   their ranks, until process 0 is done (worker.h)
//
// What is planned is the same on all of them, or it is an error of all, which process 0 prints.
//
// Thread safety: one thread, save OnLost's callback.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "apps/run_config.h"
#include "base/status.h"
#include "comm/mpi_world.h"
#include "comm/peer_watch.h"
#include "pipeline/lane_wiring.h"
#include "pipeline/rank_groups.h"

namespace penstock {

struct JobStart {
  MpiLaunch launch;
  int64_t connect_limit_us = 120'000'000;
  std::string command = {};  // with its flags: the same on all processes
  Status ready = {};         // this process's: an error is one of all
};

class Job {
 public:
  // *job stays null where this process is alone. An error is that of all processes; *job may be there then:
  // when it goes, the launcher may end the others, so that what is to be said should be said before.
  // `run` is not looked at where start.ready is an error.
  static Status Start(const RunConfig& run, const JobStart& start, std::unique_ptr<Job>* job);
  // Lets go of MPI where Done() was called, or all processes have the same error; else ends all of them with
  // exit code 1.
  ~Job();

  int process() const { return world_->rank(); }
  bool leads() const { return process() == 0; }
  const ProcessMap& map() const { return map_; }
  const std::string& host(int process) const { return world_->host(process); }
  // The cores that this process's ranks may use: of those that all processes of this machine may use, its
  // share.
  const std::vector<int>& cores() const { return cores_; }
  // How many cores that is a share of, and how many processes share them.
  size_t num_shared_cores() const { return num_shared_cores_; }
  int num_sharing_processes() const { return num_sharing_processes_; }
  // What this process's clock is ahead of process 0's.
  int64_t clock_offset_us() const { return world_->ClockOffsetUs(process()); }
  // Whether a process runs on this machine.
  bool IsHere(int process) const { return world_->host(process) == world_->host(this->process()); }

  // All processes. The first error of all; OK where there is none.
  Status Share(const Status& own);
  // All processes. The lowest value of all.
  int64_t Min(int64_t own);
  // All processes. Process 0's text.
  std::string FromLeader(const std::string& own);

  // All processes, once, when the plan is known: the groups of the ranks.
  std::vector<RankGroups> MakeGroups();
  // Of a replica's pipeline, or of this process's part of it.
  RemoteRanks Remote(int32_t replica);

  // `on_lost` is called, on a thread of its own and once, when another process is gone, or what it sent makes
  // no sense; the process ends with exit code 1 afterwards, without another call of MPI, which may wait for
  // the other for ever. It may take a second: then the launcher kills what is left.
  void OnLost(std::function<void(const Status& status)> on_lost);

  // The same end for another reason.
  [[noreturn]] void End(const Status& status) { Lost(status); }

  // Does not return where a process has been lost: this one then ends by itself, and answers clients until
  // then, also when the launcher tells it to end.
  void StayIfLost() const;

  // All has gone well: the processes will come to the end together.
  void Done() {
    OnLost(nullptr);
    done_ = true;
  }

 private:
  Job(std::unique_ptr<MpiWorld> world, ProcessMap map, bool synchronous_sends);
  void ShareCores();
  [[noreturn]] void Lost(const Status& status);
  void WaitForHints();

  const std::unique_ptr<MpiWorld> world_;
  const ProcessMap map_;
  const bool synchronous_sends_;
  std::vector<int> cores_;
  size_t num_shared_cores_ = 0;
  int num_sharing_processes_ = 1;
  std::unique_ptr<Communicator> all_;
  std::unique_ptr<MessageEndpoint> endpoint_;
  std::unique_ptr<PeerWatch> watch_;
  std::mutex mutex_;
  std::function<void(const Status&)> on_lost_;  // GUARDED_BY(mutex_)
  std::atomic<bool> lost_{false};
  std::atomic<bool> done_{false};
  std::atomic<bool> ending_{false};
  std::thread hints_;
};

}  // namespace penstock
