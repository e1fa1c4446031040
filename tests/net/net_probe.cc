// net_probe: measures the channel between the processes of a job, and shows what becomes of a job that loses a
// rank. Run by mpirun, by hand or by tests/net/*.sh:
//
//   net_probe MODE [CONNECT_LIMIT_S]
//
//   channel    one line of JSON for each case: latency, bandwidth, the processor time that it takes
//   watch      rank 0 stands in for a server: says READY, and when a rank is lost, LOST; it answers for half a
//              second and ends the job with exit code 7 some seconds later. Every rank writes "pid RANK PID" first.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "comm/mpi_world.h"
#include "comm/peer_watch.h"

namespace penstock {
namespace {

void SleepUs(int64_t us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

int64_t CpuUs() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto us = [](const timeval& time) { return int64_t{1'000'000} * time.tv_sec + time.tv_usec; };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

class Counter {
 public:
  void Add() {
    std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  void Await(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

struct Probe {
  MpiWorld& world;
  MessageEndpoint& endpoint;

  void Settle() const {
    if (const Status status = world.Share(OkStatus()); !status.ok()) std::exit(1);
  }

  // Ranks 0 and 1 send each other a message in turn.
  void Latency(size_t bytes, int rounds) const {
    const int rank = world.rank();
    if (rank < 2) {
      std::vector<char> in(bytes), out(bytes);
      Counter arrived;
      std::vector<int64_t> times_us;
      for (int i = 0; i < rounds; ++i) {
        endpoint.PostReceive(1 - rank, 1, 64, in.data(), bytes, [&](auto, size_t) { arrived.Add(); });
        const int64_t start_us = NowUs();
        if (rank == 1) arrived.Await(i + 1);
        endpoint.Send(1 - rank, 1, std::vector<std::byte>(64), out.data(), bytes, nullptr);
        if (rank == 0) arrived.Await(i + 1);
        times_us.push_back(NowUs() - start_us);
      }
      std::sort(times_us.begin(), times_us.end());
      if (rank == 0) {
        fmt::print("{{\"case\": \"round trip\", \"bytes\": {}, \"median_us\": {}, \"p90_us\": {}}}\n", bytes,
                   times_us[times_us.size() / 2], times_us[times_us.size() * 9 / 10]);
      }
      SleepUs(100'000);
    }
    Settle();
  }

  // Rank 0 sends to rank 1 from two buffers, while its main thread sleeps (stands in for one that computes).
  void Bandwidth(size_t bytes, int messages) const {
    const int rank = world.rank();
    const int64_t start_cpu_us = CpuUs();
    const int64_t start_us = NowUs();
    Counter done;
    std::vector<std::vector<char>> buffers(2, std::vector<char>(bytes));
    if (rank == 0) {
      for (int i = 0; i < messages; ++i) {
        if (i >= 2) done.Await(i - 1);
        endpoint.Send(1, 1, std::vector<std::byte>(64), buffers[i % 2].data(), bytes, [&] { done.Add(); });
      }
      done.Await(messages);
    } else if (rank == 1) {
      std::function<void(int)> post = [&](int i) {
        endpoint.PostReceive(0, 1, 64, buffers[i % 2].data(), bytes, [&, i](auto, size_t) {
          if (i + 2 < messages) post(i + 2);
          done.Add();
        });
      };
      for (int i = 0; i < std::min(2, messages); ++i) post(i);
      done.Await(messages);
    }
    const int64_t wall_us = NowUs() - start_us;
    if (rank < 2) {
      fmt::print(
          "{{\"case\": \"bandwidth\", \"rank\": {}, \"bytes\": {}, \"messages\": {}, \"ms_each\": {:.3f}, "
          "\"GB_per_s\": {:.2f}, \"cores_busy\": {:.2f}}}\n",
          rank, bytes, messages, wall_us / 1000.0 / messages, bytes * messages / 1000.0 / wall_us,
          static_cast<double>(CpuUs() - start_cpu_us) / wall_us);
      std::fflush(stdout);
    }
    Settle();
  }

  void Idle() const {
    const int64_t start_cpu_us = CpuUs();
    SleepUs(2'000'000);
    const double busy = (CpuUs() - start_cpu_us) / 2e6;
    fmt::print("{{\"case\": \"idle\", \"rank\": {}, \"cores_busy\": {:.3f}}}\n", world.rank(), busy);
    std::fflush(stdout);
    Settle();
  }
};

int RunChannel(MpiWorld& world) {
  {
    const auto endpoint =
        world.MakeEndpoint([](int, int, const Status& status) { fmt::print("{}\n", status.message()); });
    const Probe probe{world, *endpoint};
    if (world.rank() == 0) {
      fmt::print("{{\"case\": \"clock\", \"rank\": 1, \"offset_us\": {}}}\n", world.ClockOffsetUs(1));
    }
    for (const size_t bytes : {size_t{0}, size_t{4096}, size_t{1} << 20}) probe.Latency(bytes, 50);
    for (const size_t bytes : {size_t{1} << 20, size_t{16} << 20, size_t{59} << 20}) probe.Bandwidth(bytes, 12);
    probe.Idle();
  }
  return world.Finish().ok() ? 0 : 1;
}

// What a signal handler may do: write down that it came. A thread looks.
std::atomic<int> last_signal{0};

int RunWatch(MpiWorld& world) {
  const int64_t start_us = NowUs();
  const auto say = [&](const std::string& text) {
    fmt::print("{:.3f} rank {}: {}\n", (NowUs() - start_us) / 1e6, world.rank(), text);
    std::fflush(stdout);
  };
  for (const int signal : {SIGCONT, SIGTERM}) std::signal(signal, [](int number) { last_signal = number; });
  say(fmt::format("pid {} {}", world.rank(), getpid()));
  std::atomic<bool> lost{false};
  const auto endpoint = world.MakeEndpoint([](int, int, const Status&) {});
  PeerWatch watch(*endpoint, world.rank(), world.size(), {}, [&](int rank, const std::string& reason) {
    say(fmt::format("LOST {} {}", rank, reason));
    lost = true;
  });
  say("READY");
  // Something is always on its way, as in a server that works.
  std::vector<char> out(300'000), in(300'000);
  const int next = (world.rank() + 1) % world.size(), last = (world.rank() + world.size() - 1) % world.size();
  std::function<void()> send = [&] {
    endpoint->Send(next, 0, {}, out.data(), out.size(), [&] { send(); });
  };
  std::function<void()> post = [&] {
    endpoint->PostReceive(last, 0, 0, in.data(), in.size(), [&](auto, size_t) { post(); });
  };
  post();
  send();
  while (!lost) {
    SleepUs(10'000);
    if (const int signal = last_signal.exchange(0); signal != 0) {
      say(fmt::format("signal {}", signal));
      if (signal == SIGCONT) watch.Hint();
    }
  }
  if (world.rank() == 0) {
    for (int i = 0; i < 5; ++i) {
      SleepUs(100'000);
      say("answers clients");
    }
    SleepUs(2'500'000);  // a launcher that notices a lost host by itself ends the job before
    say("ends with 7");
  } else {
    SleepUs(4'000'000);  // rank 0 is to speak
  }
  std::fflush(stdout);
  std::_Exit(7);
}

int Run(const std::string& mode, int64_t connect_limit_us) {
  const auto launch = DetectMpiLaunch([](const char* name) -> const char* { return std::getenv(name); });
  if (!launch.ok()) return fmt::print(stderr, "error: {}\n", launch.status().message()), 1;
  auto world = StartMpiWorld({.launch = *launch, .connect_limit_us = connect_limit_us});
  if (!world.ok()) return fmt::print(stderr, "error: {}\n", world.status().message()), 1;
  if ((*world)->size() < 2) return fmt::print(stderr, "error: start it with mpirun -n 2\n"), 2;
  if (mode == "channel") return RunChannel(**world);
  if (mode == "watch") return RunWatch(**world);
  fmt::print(stderr, "error: got {}, expected channel or watch\n", mode);
  return 2;
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  return penstock::Run(argc > 1 ? argv[1] : "", argc > 2 ? std::atoi(argv[2]) * int64_t{1'000'000} : 20'000'000);
}
