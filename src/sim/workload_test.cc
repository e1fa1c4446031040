// SPDX-License-Identifier: Apache-2.0
#include "sim/workload.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(Workload, FixedLengths) {
  const Traffic traffic = *DrawTraffic({.num_requests = 3, .prompt_len = {.mean = 1000}, .output_len = 7});
  ASSERT_EQ(traffic.requests.size(), 3u);
  for (const SimRequest& request : traffic.requests) {
    EXPECT_EQ(request.prompt_len, 1000);
    EXPECT_EQ(request.output_len, 7);
    EXPECT_EQ(request.cached_len, 0);
    EXPECT_EQ(request.arrival_us, 0);
  }
}

TEST(Workload, LengthsAreATruncatedNormalDistribution) {
  Workload workload = {.num_requests = 20000,
                       .prompt_len = {.mean = 32768, .std = 32768, .min = 4096, .max = 65536}};
  const Traffic traffic = *DrawTraffic(workload);
  double sum = 0;
  int num_low = 0, num_middle = 0;
  for (const SimRequest& request : traffic.requests) {
    ASSERT_GE(request.prompt_len, 4096);
    ASSERT_LE(request.prompt_len, 65536);
    sum += request.prompt_len;
    num_low += request.prompt_len < 4096 + 6144;
    num_middle += std::abs(request.prompt_len - 32768) < 3072;
  }
  // The mean of the cut distribution; the density at its lower end and its middle.
  EXPECT_NEAR(sum / 20000, 34284, 400);
  EXPECT_NEAR(num_low / 20000.0, 0.0847, 0.006);
  EXPECT_NEAR(num_middle / 20000.0, 0.1148, 0.007);
}

TEST(Workload, SeedDecides) {
  Workload workload = {.num_requests = 50, .prompt_len = {.mean = 1000, .std = 300}, .request_rate = 2};
  const Traffic a = *DrawTraffic(workload), b = *DrawTraffic(workload);
  workload.seed = 1;
  const Traffic c = *DrawTraffic(workload);
  int num_equal = 0;
  for (size_t i = 0; i < 50; ++i) {
    EXPECT_EQ(a.requests[i].prompt_len, b.requests[i].prompt_len);
    EXPECT_EQ(a.requests[i].arrival_us, b.requests[i].arrival_us);
    num_equal += a.requests[i].prompt_len == c.requests[i].prompt_len;
  }
  EXPECT_LT(num_equal, 10);
}

TEST(Workload, PoissonArrivals) {
  const Traffic traffic =
      *DrawTraffic({.num_requests = 10001, .prompt_len = {.mean = 10}, .request_rate = 4});
  EXPECT_EQ(traffic.requests[0].arrival_us, 0);
  EXPECT_NEAR(static_cast<double>(traffic.requests[10000].arrival_us), 2500e6, 100e6);
  int num_short = 0;  // gaps below the mean: 1 - 1/e of them
  for (size_t i = 1; i < traffic.requests.size(); ++i) {
    const int64_t gap_us = traffic.requests[i].arrival_us - traffic.requests[i - 1].arrival_us;
    ASSERT_GE(gap_us, 0);
    num_short += gap_us < 250'000;
  }
  EXPECT_NEAR(num_short / 10000.0, 0.632, 0.02);
}

TEST(Workload, PrefixHits) {
  const Traffic traffic = *DrawTraffic({.prompt_len = {.mean = 10000}, .prefix_hit_share = 0.99});
  EXPECT_EQ(traffic.requests[0].cached_len, 9900);
  EXPECT_EQ(DrawTraffic({.prompt_len = {.mean = 10}, .prefix_hit_share = 1})->requests[0].cached_len, 9);
}

TEST(Workload, SaysWhatIsWrong) {
  const LengthDistribution length = {.mean = 10};
  const auto error = [](const Workload& workload) { return DrawTraffic(workload).status().message(); };
  EXPECT_EQ(error({.num_requests = 0, .prompt_len = length}),
            "number of requests: got 0, expected at least 1");
  EXPECT_EQ(error({.prompt_len = {.mean = 0}}), "mean prompt length: got 0, expected 1 to 67108864");
  EXPECT_EQ(error({.prompt_len = {.mean = 10, .min = 11}}),
            "range of prompt lengths: got 11 to 2147483647, expected one that has the mean 10 in it");
  EXPECT_EQ(error({.prompt_len = length, .request_rate = 1, .num_clients = 1}),
            "got a request rate and a number of clients, expected one of them");
  EXPECT_NE(error({.prompt_len = length, .prefix_hit_share = 1.5}), "");
  EXPECT_NE(error({.num_requests = 2, .prompt_len = length, .request_rate = 1e-300}), "");
}

TEST(Workload, RecordedTrace) {
  const Result<Traffic> traffic = ParseTraffic(
      "{\"arrival_s\": 2.5, \"prompt_len\": 100, \"output_len\": 5, \"cached_len\": 64}\n"
      "\n"
      "{\"prompt_len\": 200, \"output_len\": 1}\r\n",
      "trace");
  ASSERT_TRUE(traffic.ok()) << traffic.status().message();
  ASSERT_EQ(traffic->requests.size(), 2u);
  EXPECT_EQ(traffic->requests[0].prompt_len, 200);
  EXPECT_EQ(traffic->requests[1].arrival_us, 2'500'000);
  EXPECT_EQ(traffic->requests[1].output_len, 5);
  EXPECT_EQ(traffic->requests[1].cached_len, 64);
}

TEST(Workload, RecordedTraceErrorsNameTheLine) {
  const auto error = [](std::string_view line) {
    return ParseTraffic("{\"prompt_len\": 2, \"output_len\": 1}\n" + std::string(line), "t")
        .status()
        .message();
  };
  EXPECT_TRUE(error("{").starts_with("t:2: request: not JSON")) << error("{");
  EXPECT_EQ(error("[]"), "t:2: got [], expected an object");
  EXPECT_EQ(error("{\"prompt_len\": 2}"), "t:2: got no \"output_len\", expected a number");
  EXPECT_EQ(error("{\"prompt_len\": -1, \"output_len\": 1}"),
            "t:2: \"prompt_len\": got -1, expected 1 to 67108864");
  EXPECT_EQ(error("{\"prompt_len\": \"x\", \"output_len\": 1}"),
            "t:2: \"prompt_len\": got \"x\", expected 1 to 67108864");
  EXPECT_EQ(error("{\"prompt_len\": 4, \"output_len\": 1, \"cached_len\": 4}"),
            "t:2: \"cached_len\": got 4, expected 0 to 3");
  EXPECT_EQ(error("{\"prompt_len\": 4, \"output_len\": 1, \"x\": 4}"),
            "t:2: got \"x\", expected arrival_s, prompt_len, output_len and cached_len");
  EXPECT_EQ(ParseTraffic("\n", "t").status().message(),
            "t: got no request, expected one JSON object on each line");
}

}  // namespace
}  // namespace penstock
