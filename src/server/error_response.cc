// SPDX-License-Identifier: Apache-2.0
#include "server/error_response.h"

#include <string_view>
#include <utility>

#include "server/json_writer.h"

namespace penstock {
namespace {

std::string_view ErrorType(int http_status) {
  switch (http_status) {
    case 401:
      return "AuthenticationError";
    case 403:
      return "PermissionDeniedError";
    case 404:
      return "NotFoundError";
    case 501:
      return "NotImplementedError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return http_status >= 500 ? "InternalServerError" : "BadRequestError";
  }
}

int HttpStatusOf(StatusCode code) {
  switch (code) {
    case StatusCode::kInvalidArgument:
      return 400;
    case StatusCode::kNotFound:
      return 404;
    case StatusCode::kUnimplemented:
      return 501;
    case StatusCode::kResourceExhausted:
    case StatusCode::kUnavailable:
      return 503;
    case StatusCode::kCancelled:
      return 499;
    case StatusCode::kOk:
    case StatusCode::kInternal:
      break;
  }
  return 500;
}

}  // namespace

ApiError Overloaded(std::string message, int retry_after_seconds) {
  return {.http_status = 503,
          .message = std::move(message),
          .param = std::nullopt,
          .retry_after_seconds = retry_after_seconds};
}

ApiError ErrorFromStatus(const Status& status, int retry_after_seconds) {
  ApiError error;
  error.http_status = HttpStatusOf(status.code());
  error.message = status.message().empty() ? "internal error" : status.message();
  if (error.http_status == 503) error.retry_after_seconds = retry_after_seconds;
  return error;
}

std::string ErrorJson(const ApiError& error) {
  std::string json;
  JsonWriter writer(&json);
  writer.BeginObject().Key("error").BeginObject();
  writer.Key("message").String(error.message);
  writer.Key("type").String(ErrorType(error.http_status));
  writer.Key("param");
  if (error.param)
    writer.String(*error.param);
  else
    writer.Null();
  writer.Key("code").Int(error.http_status);
  writer.EndObject().EndObject();
  return json;
}

HttpResponse ErrorHttpResponse(const ApiError& error) {
  HttpResponse response;
  response.status = error.http_status;
  response.body = ErrorJson(error);
  if (error.retry_after_seconds) {
    response.headers.emplace_back("Retry-After", std::to_string(*error.retry_after_seconds));
  }
  if (error.http_status == 500 || error.http_status == 501)
    response.headers.emplace_back("x-should-retry", "false");
  return response;
}

}  // namespace penstock
