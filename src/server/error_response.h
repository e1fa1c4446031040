// Errors as clients see them: OpenAI's JSON shape, vLLM's types, and the one mapping from Status to HTTP.
//
//   {"error": {"message": …, "type": "BadRequestError", "param": "temperature", "code": 400}}
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "server/http.h"

namespace penstock {

struct ApiError {
  int http_status = 400;
  std::string message;
  std::optional<std::string> param;        // the field of the request that is wrong
  std::optional<int> retry_after_seconds;  // sent as Retry-After
};

// 400 about a field; `param` empty: about the whole request.
template <typename... Args>
ApiError BadRequest(std::string param, fmt::format_string<Args...> format, Args&&... args) {
  ApiError error;
  error.message = fmt::format(format, std::forward<Args>(args)...);
  if (!param.empty()) error.param = std::move(param);
  return error;
}

// 503 that asks to come back.
ApiError Overloaded(std::string message, int retry_after_seconds);

// kInvalidArgument 400, kNotFound 404, kUnimplemented 501, kResourceExhausted and kUnavailable 503 with
// Retry-After, kCancelled 499, all else 500.
ApiError ErrorFromStatus(const Status& status, int retry_after_seconds);

// The JSON above, without a newline.
std::string ErrorJson(const ApiError& error);

// With Retry-After where set, and x-should-retry: false where the same request would fail again on our side
// (500, 501): SDKs otherwise send a long prompt three times.
HttpResponse ErrorHttpResponse(const ApiError& error);

}  // namespace penstock
