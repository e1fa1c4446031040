// SPDX-License-Identifier: Apache-2.0
#include "base/worker_pool.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <future>
#include <numeric>

namespace penstock {
namespace {

TEST(WorkerPool, RunsEveryTaskOnNamedThreads) {
  std::atomic<int> sum = 0;
  std::string name(16, '\0');
  {
    WorkerPool pool(3, 1000, "tok");
    for (int i = 1; i <= 100; ++i) ASSERT_TRUE(pool.Submit([&sum, i] { sum += i; }));
    std::promise<void> named;
    ASSERT_TRUE(pool.Submit([&] {
      pthread_getname_np(pthread_self(), name.data(), name.size());
      named.set_value();
    }));
    named.get_future().wait();
  }
  EXPECT_EQ(sum, 5050);
  EXPECT_TRUE(name.starts_with("tok-")) << name;
}

TEST(WorkerPool, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  WorkerPool pool(1, 100);
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(pool.Submit([&order, i] { order.push_back(i); }));
  pool.Stop();
  std::vector<int> expected(50);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(order, expected);
}

TEST(WorkerPool, TasksRunAtTheSameTime) {
  WorkerPool pool(2, 10);
  std::promise<void> first, second;
  ASSERT_TRUE(pool.Submit([&] {  // each waits for the other
    first.set_value();
    second.get_future().wait();
  }));
  ASSERT_TRUE(pool.Submit([&] {
    second.set_value();
    first.get_future().wait();
  }));
  pool.Stop();
}

TEST(WorkerPool, RefusesWhenFullAndWhenStopped) {
  std::promise<void> started, release;
  std::atomic<int> ran = 0;
  WorkerPool pool(1, 2);
  ASSERT_TRUE(pool.Submit([&] {
    started.set_value();
    release.get_future().wait();
  }));
  started.get_future().wait();
  EXPECT_TRUE(pool.Submit([&] { ++ran; }));
  EXPECT_TRUE(pool.Submit([&] { ++ran; }));
  EXPECT_EQ(pool.num_waiting(), 2u);
  EXPECT_FALSE(pool.Submit([&] { ++ran; }));
  release.set_value();
  pool.Stop();
  EXPECT_EQ(ran, 2);  // what was taken is run
  EXPECT_FALSE(pool.Submit([&] { ++ran; }));
  pool.Stop();
}

}  // namespace
}  // namespace penstock
