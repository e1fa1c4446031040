// Router: from a request to the handler of its path, past API keys, CORS and draining; counts and logs
// answers.
//
// Add() before the server starts; Handle() on the I/O thread.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "engine/engine.h"
#include "server/http.h"

namespace penstock {

struct CorsOptions {
  std::vector<std::string> allowed_origins;  // empty: CORS is off; "*": every origin
  std::vector<std::string> allowed_methods = {"*"};
  std::vector<std::string> allowed_headers = {"*"};
  bool allow_credentials = false;
};

struct RouterOptions {
  std::vector<std::string> api_keys;  // empty: none needed
  CorsOptions cors;
  bool echo_request_id = false;  // X-Request-Id of the request, or a new one, on every answer
  bool access_log = true;        // a line for each answer
  std::vector<std::string> access_log_skip = {"/health", "/ready", "/ping", "/metrics"};
};

// Counters of answers, for /metrics. I/O thread.
struct HttpStats {
  // By handler (the route's path; "none" where there is none), method, and status class ("2xx").
  std::map<std::tuple<std::string, std::string, std::string>, uint64_t> requests;
  std::map<std::pair<std::string, std::string>, Histogram> durations;  // seconds, by handler and method
};

// Whether a key (Bearer or X-Api-Key) of the request is one of `keys`. Takes the same time for every wrong
// key of one length.
bool HasValidKey(const HttpRequest& request, const std::vector<std::string>& keys);

class Router {
 public:
  struct Access {
    bool open = false;          // needs no API key
    bool during_drain = false;  // answered while the server drains
  };

  explicit Router(RouterOptions options) : options_(std::move(options)) {}

  // A path that ends in "/{id}" takes every path that begins so; HttpRequest::suffix is what follows.
  void Add(std::string method, std::string path, Access access, HttpHandler handler);
  void Handle(HttpRequest request, std::shared_ptr<ResponseWriter> response);

  // From now on routes without `during_drain` answer 503.
  void BeginDrain() { draining_ = true; }
  bool draining() const { return draining_; }

  const HttpStats& stats() const { return stats_; }
  // "/health, Methods: GET", in the order of Add().
  std::vector<std::string> RouteLines() const;

 private:
  struct Route {
    std::string method;
    std::string path;    // as given
    std::string prefix;  // path without "{id}" where it has one, else empty
    Access access;
    HttpHandler handler;
  };

  bool Matches(const Route& route, const HttpRequest& request) const;
  // The route, or nullptr with the answer given.
  const Route* Find(const HttpRequest& request, ResponseWriter& response, std::string* handler_name) const;
  // True if the request was a preflight and has been answered.
  bool HandleCors(const HttpRequest& request, ResponseWriter& response) const;
  void Account(const std::string& handler, const std::string& method, int status, int64_t duration_us);

  const RouterOptions options_;
  std::vector<Route> routes_;
  bool draining_ = false;
  HttpStats stats_;
  uint64_t next_request_id_ = 1;
};

}  // namespace penstock
