// SPDX-License-Identifier: Apache-2.0
#include "server/router.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/error_response.h"
#include "server/request_parser.h"

namespace penstock {
namespace {

constexpr int kDrainRetryAfterSeconds = 10;  // about what a replacement takes to come up

std::string Join(const std::vector<std::string>& items) {
  std::string joined;
  for (const std::string& item : items) joined += (joined.empty() ? "" : ", ") + item;
  return joined;
}

bool Contains(const std::vector<std::string>& items, std::string_view item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

void SendError(int status, std::string message, ResponseWriter& response) {
  ApiError error;
  error.http_status = status;
  error.message = std::move(message);
  response.Send(ErrorHttpResponse(error));
}

// A path as it may go to the log: clients must not write lines of their own.
std::string Printable(std::string path) {
  constexpr size_t kMaxLoggedPath = 200;
  if (path.size() > kMaxLoggedPath) path.resize(kMaxLoggedPath);
  for (char& c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7F) c = '?';
  }
  return path;
}

bool EqualInConstantTime(std::string_view given, std::string_view key) {
  unsigned difference = given.size() == key.size() ? 0 : 1;
  for (size_t i = 0; i < given.size(); ++i) {
    const unsigned char expected = key.empty() ? 0 : static_cast<unsigned char>(key[i % key.size()]);
    difference |= static_cast<unsigned char>(given[i]) ^ expected;
  }
  return difference == 0;
}

}  // namespace

bool HasValidKey(const HttpRequest& request, const std::vector<std::string>& keys) {
  std::string_view given;
  if (const std::string* header = request.FindHeader("x-api-key")) given = *header;
  if (const std::string* header = request.FindHeader("authorization")) {
    constexpr std::string_view kScheme = "bearer ";
    const bool is_bearer = header->size() > kScheme.size() &&
                           std::equal(kScheme.begin(), kScheme.end(), header->begin(), [](char a, char b) {
                             return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b);
                           });
    if (is_bearer) given = std::string_view(*header).substr(kScheme.size());
  }
  bool valid = false;
  for (const std::string& key : keys) valid |= EqualInConstantTime(given, key);
  return valid;
}

void Router::Add(std::string method, std::string path, Access access, HttpHandler handler) {
  constexpr std::string_view kParameter = "{id}";
  std::string prefix;
  if (path.ends_with(kParameter)) prefix = path.substr(0, path.size() - kParameter.size());
  routes_.push_back({std::move(method), std::move(path), std::move(prefix), access, std::move(handler)});
}

bool Router::Matches(const Route& route, const HttpRequest& request) const {
  if (route.prefix.empty()) return request.path == route.path;
  return request.path.size() > route.prefix.size() && request.path.starts_with(route.prefix);
}

const Router::Route* Router::Find(const HttpRequest& request, ResponseWriter& response,
                                  std::string* handler_name) const {
  std::vector<std::string> allowed;
  const std::string_view method = request.method == "HEAD" ? "GET" : std::string_view(request.method);
  const Route* found = nullptr;
  for (const Route& route : routes_) {
    if (!Matches(route, request)) continue;
    *handler_name = route.path;
    allowed.push_back(route.method);
    if (route.method == "GET") allowed.push_back("HEAD");
    if (route.method == method) found = &route;
  }
  const bool is_open = found && found->access.open;
  if (!options_.api_keys.empty() && !is_open && !HasValidKey(request, options_.api_keys)) {
    response.AddHeader("WWW-Authenticate", "Bearer");
    SendError(401, "Unauthorized: a valid API key is needed", response);
    return nullptr;
  }
  if (allowed.empty()) {
    SendError(404, "Not Found", response);
  } else if (!found) {
    response.AddHeader("Allow", Join(allowed));
    SendError(405, fmt::format("Method Not Allowed: {} takes {}", *handler_name, Join(allowed)), response);
  } else if (draining_ && !found->access.during_drain) {
    response.Send(ErrorHttpResponse(Overloaded("The server is shutting down.", kDrainRetryAfterSeconds)));
    return nullptr;
  }
  return found;
}

bool Router::HandleCors(const HttpRequest& request, ResponseWriter& response) const {
  const CorsOptions& cors = options_.cors;
  const std::string* origin = request.FindHeader("origin");
  if (!origin || cors.allowed_origins.empty()) return false;
  const bool any = Contains(cors.allowed_origins, "*");
  const bool allowed = any || Contains(cors.allowed_origins, *origin);
  if (allowed) {
    response.AddHeader("Access-Control-Allow-Origin", any && !cors.allow_credentials ? "*" : *origin);
    response.AddHeader("Vary", "Origin");
    if (cors.allow_credentials) response.AddHeader("Access-Control-Allow-Credentials", "true");
  }
  const std::string* wanted_method = request.FindHeader("access-control-request-method");
  if (request.method != "OPTIONS" || !wanted_method) return false;
  if (!allowed) {
    SendError(400, "Disallowed CORS origin", response);
    return true;
  }
  const std::string* wanted_headers = request.FindHeader("access-control-request-headers");
  response.AddHeader("Access-Control-Allow-Methods",
                     Contains(cors.allowed_methods, "*") ? "GET, POST, OPTIONS" : Join(cors.allowed_methods));
  response.AddHeader("Access-Control-Allow-Headers", Contains(cors.allowed_headers, "*") && wanted_headers
                                                         ? *wanted_headers
                                                         : Join(cors.allowed_headers));
  response.AddHeader("Access-Control-Max-Age", "600");
  response.Send({.status = 204, .content_type = "", .headers = {}, .body = {}});
  return true;
}

void Router::Account(const std::string& handler, const std::string& method, int status, int64_t duration_us) {
  ++stats_.requests[{handler, method, fmt::format("{}xx", status / 100)}];
  auto [it, is_new] = stats_.durations.try_emplace({handler, method});
  if (is_new) it->second = Histogram({0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300});
  it->second.Observe(static_cast<double>(duration_us) / 1e6);
}

void Router::Handle(HttpRequest request, std::shared_ptr<ResponseWriter> response) {
  // Methods are counted by name, and a client can invent them.
  const bool is_known =
      Contains({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"}, request.method);
  const std::string method = is_known ? request.method : "other";
  const auto handler_name = std::make_shared<std::string>("none");
  const bool log = options_.access_log && !Contains(options_.access_log_skip, request.path);
  response->OnDone(
      [this, handler_name, method, begin_us = NowUs(),
       line = log ? fmt::format("{} - \"{} {} HTTP/1.1\"", request.peer, method, Printable(request.path))
                  : std::string()](int status) {
        Account(*handler_name, method, status, NowUs() - begin_us);
        if (!line.empty()) LogInfo("{} {} {}", line, status, HttpReason(status));
      });
  if (options_.echo_request_id) {
    const std::string* id = request.FindHeader("x-request-id");
    response->AddHeader("X-Request-Id",
                        id && IsPlainRequestId(*id) ? *id : fmt::format("req-{}", next_request_id_++));
  }
  if (HandleCors(request, *response)) return;
  const Route* route = Find(request, *response, handler_name.get());
  if (!route) return;
  if (!route->prefix.empty()) request.suffix = request.path.substr(route->prefix.size());
  route->handler(std::move(request), std::move(response));
}

std::vector<std::string> Router::RouteLines() const {
  std::vector<std::string> lines;
  for (const Route& route : routes_)
    lines.push_back(fmt::format("{}, Methods: {}", route.path, route.method));
  return lines;
}

}  // namespace penstock
