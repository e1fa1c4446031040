// delay_link: a wire between two network namespaces, with a delay and a bandwidth, where the kernel has no netem.
//
//   delay_link NS_A ADDRESS_A NS_B ADDRESS_B DELAY_US GBIT_PER_S
//
// Makes a TUN device "wire" in each namespace (65,000 bytes to a packet, so that ten gigabits are not too many
// packets), and carries packets from one to the other: a packet takes its length / bandwidth to leave, after
// those before it, and arrives the delay later. "cut" on standard input drops everything from then on; the end
// of standard input ends it. Needs root, and the `ip` program.
//
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kMtu = 65000;
constexpr size_t kQueuePackets = 2000;  // what has not left is dropped beyond this, as a switch does

[[noreturn]] void Fail(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

void Run(const std::string& command) {
  if (std::system(command.c_str()) != 0) {
    std::fprintf(stderr, "failed: %s\n", command.c_str());
    std::exit(1);
  }
}

// The calling thread is in the namespace afterwards: so each device is made by a thread of its own.
int MakeDevice(const std::string& ns, const std::string& address) {
  const int ns_fd = open(("/var/run/netns/" + ns).c_str(), O_RDONLY);
  if (ns_fd < 0 || setns(ns_fd, CLONE_NEWNET) != 0) Fail("namespace " + ns);
  close(ns_fd);
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (fd < 0) Fail("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  std::strcpy(request.ifr_name, "wire");
  if (ioctl(fd, TUNSETIFF, &request) != 0) Fail("TUNSETIFF");
  Run("ip link set lo up; ip addr add " + address + "/24 dev wire; ip link set wire mtu " + std::to_string(kMtu) +
      " txqueuelen 1000 up");
  // As machines on such a link are set up: the default is less than 10 Gbit/s times a round trip of 2 ms.
  for (const char* name : {"tcp_wmem", "tcp_rmem"}) {
    Run(std::string("echo '4096 1000000 33554432' > /proc/sys/net/ipv4/") + name);
  }
  return fd;
}

struct Packet {
  Clock::time_point due;
  std::vector<char> data;
};

void Carry(int from, int to, std::chrono::microseconds delay, double bytes_per_us, const std::atomic<bool>& cut) {
  prctl(PR_SET_TIMERSLACK, 1000UL);
  std::deque<Packet> flying;
  std::vector<std::vector<char>> spare;
  Clock::time_point free_at = Clock::now();  // when the last packet has left
  for (;;) {
    auto now = Clock::now();
    while (!flying.empty() && flying.front().due <= now) {
      if (!cut) (void)!write(to, flying.front().data.data(), flying.front().data.size());
      spare.push_back(std::move(flying.front().data));
      flying.pop_front();
    }
    timespec wait{3600, 0};
    if (!flying.empty()) {
      const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(flying.front().due - now).count();
      wait = {ns / 1'000'000'000, ns % 1'000'000'000};
    }
    pollfd look{from, POLLIN, 0};
    if (ppoll(&look, 1, &wait, nullptr) <= 0) continue;
    for (int i = 0; i < 8; ++i) {
      std::vector<char> data;
      if (!spare.empty()) {
        data = std::move(spare.back());
        spare.pop_back();
      }
      data.resize(kMtu + 100);
      const ssize_t bytes = read(from, data.data(), data.size());
      if (bytes <= 0) break;
      data.resize(bytes);
      now = Clock::now();
      free_at = std::max(free_at, now) + std::chrono::nanoseconds(static_cast<int64_t>(1000 * bytes / bytes_per_us));
      if (flying.size() < kQueuePackets) flying.push_back({free_at + delay, std::move(data)});
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: delay_link NS_A ADDRESS_A NS_B ADDRESS_B DELAY_US GBIT_PER_S\n");
    return 2;
  }
  int fds[2] = {-1, -1};
  for (int i = 0; i < 2; ++i) std::thread([&, i] { fds[i] = MakeDevice(argv[1 + 2 * i], argv[2 + 2 * i]); }).join();
  const std::chrono::microseconds delay(std::atoi(argv[5]));
  const double bytes_per_us = std::atof(argv[6]) * 1000 / 8;
  std::atomic<bool> cut{false};
  std::thread(Carry, fds[0], fds[1], delay, bytes_per_us, std::cref(cut)).detach();
  std::thread(Carry, fds[1], fds[0], delay, bytes_per_us, std::cref(cut)).detach();
  std::puts("ready");
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "cut") cut = true;
  }
  std::_Exit(0);
}
