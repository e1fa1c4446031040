// SPDX-License-Identifier: Apache-2.0
#include "sim/workload.h"

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "sim/random_draw.h"

namespace penstock {
namespace {

constexpr int32_t kMostTokens = 1 << 26;  // of one sequence
constexpr double kUsPerSecond = 1e6;
constexpr double kMostSeconds = 1e9;

// By rejection. Where the range is so narrow that hardly any draw falls into it, the density is flat there.
int32_t DrawLength(const LengthDistribution& dist, RandomDraw& draw) {
  if (dist.std == 0) return static_cast<int32_t>(std::lround(dist.mean));
  for (int i = 0; i < 1000; ++i) {
    const double length = std::round(dist.mean + dist.std * draw.Normal());
    if (length >= dist.min && length <= dist.max) return static_cast<int32_t>(length);
  }
  return dist.min + static_cast<int32_t>(draw.Uniform() * (dist.max - dist.min + 1.0));
}

Status CheckLengths(const LengthDistribution& dist) {
  if (!(dist.mean >= 1 && dist.mean <= kMostTokens)) {
    return InvalidArgument("mean prompt length: got {}, expected 1 to {}", dist.mean, kMostTokens);
  }
  if (!(dist.std >= 0 && dist.std <= kMostTokens)) {
    return InvalidArgument("standard deviation of prompt lengths: got {}, expected 0 to {}", dist.std,
                           kMostTokens);
  }
  if (dist.min < 1 || dist.min > dist.mean || dist.max < dist.mean) {
    return InvalidArgument("range of prompt lengths: got {} to {}, expected one that has the mean {} in it",
                           dist.min, dist.max, dist.mean);
  }
  return OkStatus();
}

Status CheckWorkload(const Workload& workload) {
  RETURN_IF_ERROR(CheckLengths(workload.prompt_len));
  if (workload.num_requests < 1)
    return InvalidArgument("number of requests: got {}, expected at least 1", workload.num_requests);
  if (workload.output_len < 1 || workload.output_len > kMostTokens)
    return InvalidArgument("output length: got {}, expected 1 to {}", workload.output_len, kMostTokens);
  if (!(workload.prefix_hit_share >= 0 && workload.prefix_hit_share <= 1))
    return InvalidArgument("share of prefix hits: got {}, expected 0 to 1", workload.prefix_hit_share);
  if (!(workload.request_rate >= 0 && std::isfinite(workload.request_rate)))
    return InvalidArgument("request rate: got {}, expected a rate per second", workload.request_rate);
  if (workload.num_clients < 0)
    return InvalidArgument("number of clients: got {}, expected 0 or more", workload.num_clients);
  if (!(workload.client_us >= 0 && workload.client_us <= kMostSeconds * kUsPerSecond &&
        workload.client_token_us >= 0 && workload.client_token_us <= kUsPerSecond)) {
    return InvalidArgument("time of clients: got {} us and {} us for each token, expected times",
                           workload.client_us, workload.client_token_us);
  }
  if (workload.request_rate > 0 && workload.num_clients > 0)
    return InvalidArgument("got a request rate and a number of clients, expected one of them");
  return OkStatus();
}

struct TraceField {
  const char* name;
  double min, max;
  bool needed;
};

Result<double> ReadField(const Json& line, const TraceField& field, double otherwise) {
  const auto found = line.find(field.name);
  if (found == line.end()) {
    if (!field.needed) return otherwise;
    return InvalidArgument("got no \"{}\", expected a number", field.name);
  }
  const double value = found->is_number() ? found->get<double>() : std::nan("");
  if (!(value >= field.min && value <= field.max)) {
    return InvalidArgument("\"{}\": got {}, expected {} to {}", field.name, found->dump(), field.min,
                           field.max);
  }
  return value;
}

Result<SimRequest> ParseRequest(std::string_view text) {
  ASSIGN_OR_RETURN(const Json line, ParseJson(text, "request"));
  if (!line.is_object()) return InvalidArgument("got {}, expected an object", line.dump());
  for (const auto& [key, value] : line.items()) {
    if (key != "arrival_s" && key != "prompt_len" && key != "output_len" && key != "cached_len") {
      return InvalidArgument("got \"{}\", expected arrival_s, prompt_len, output_len and cached_len", key);
    }
  }
  ASSIGN_OR_RETURN(const double arrival_s, ReadField(line, {"arrival_s", 0, kMostSeconds, false}, 0));
  ASSIGN_OR_RETURN(const double prompt_len, ReadField(line, {"prompt_len", 1, kMostTokens, true}, 0));
  ASSIGN_OR_RETURN(const double output_len, ReadField(line, {"output_len", 1, kMostTokens, true}, 0));
  ASSIGN_OR_RETURN(const double cached_len, ReadField(line, {"cached_len", 0, prompt_len - 1, false}, 0));
  return SimRequest{.arrival_us = std::llround(arrival_s * kUsPerSecond),
                    .prompt_len = static_cast<int32_t>(prompt_len),
                    .output_len = static_cast<int32_t>(output_len),
                    .cached_len = static_cast<int32_t>(cached_len)};
}

}  // namespace

Result<Traffic> DrawTraffic(const Workload& workload) {
  RETURN_IF_ERROR(CheckWorkload(workload));
  // Apart, so that another rate does not change the lengths.
  RandomDraw lengths(workload.seed, 1), arrivals(workload.seed, 2);
  Traffic traffic;
  traffic.num_clients = workload.num_clients;
  traffic.client_us = workload.client_us;
  traffic.client_token_us = workload.client_token_us;
  double at_s = 0;
  for (int32_t i = 0; i < workload.num_requests; ++i) {
    SimRequest& request = traffic.requests.emplace_back();
    request.prompt_len = DrawLength(workload.prompt_len, lengths);
    request.output_len = workload.output_len;
    request.cached_len =
        std::min(static_cast<int32_t>(std::lround(workload.prefix_hit_share * request.prompt_len)),
                 request.prompt_len - 1);
    request.arrival_us = std::llround(at_s * kUsPerSecond);
    if (workload.request_rate > 0) at_s += arrivals.Exponential() / workload.request_rate;
    if (at_s > kMostSeconds) {
      return InvalidArgument("request rate: got {}, expected {} requests to come within {} seconds",
                             workload.request_rate, workload.num_requests, kMostSeconds);
    }
  }
  return traffic;
}

Result<Traffic> ParseTraffic(std::string_view text, std::string_view what) {
  Traffic traffic;
  for (int line_no = 1; !text.empty(); ++line_no) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    Result<SimRequest> request = ParseRequest(line);
    if (!request.ok()) return request.status().WithContext(fmt::format("{}:{}", what, line_no));
    traffic.requests.push_back(*request);
  }
  if (traffic.requests.empty())
    return InvalidArgument("{}: got no request, expected one JSON object on each line", what);
  std::stable_sort(traffic.requests.begin(), traffic.requests.end(),
                   [](const SimRequest& a, const SimRequest& b) { return a.arrival_us < b.arrival_us; });
  return traffic;
}

}  // namespace penstock
