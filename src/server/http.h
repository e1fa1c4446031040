// HTTP as the handlers see it: a request, a response, and a writer for the answer. No library of HTTP shows
// here.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace penstock {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;   // as sent: "GET"
  std::string path;     // percent-decoded, without the query
  HttpHeaders headers;  // names in lower case
  std::string body;
  std::string peer;    // "127.0.0.1:40312"
  std::string suffix;  // what follows the route's path, where the route takes one (/v1/models/{id})

  // The first header of this name (in lower case), nullptr if there is none.
  const std::string* FindHeader(std::string_view name) const {
    for (const auto& [key, value] : headers) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HttpHeaders headers;  // further ones; Content-Length, Date and Connection are the server's
  std::string body;
};

// Takes the answer to one request: either one Send(), or StartStream(), Write()s and EndStream().
//
// Thread: Post() may be called from any thread, also after the server has stopped (the task is then dropped).
// All else belongs to the server's I/O thread, on which handlers, posted tasks and callbacks run; they must
// not block. Once the client has gone, calls do nothing.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  virtual void Post(std::function<void()> task) = 0;

  // Adds a header to whatever is answered.
  virtual void AddHeader(std::string name, std::string value) = 0;
  virtual void Send(HttpResponse response) = 0;

  // The head of an answer of unknown length; response.body is not used.
  virtual void StartStream(HttpResponse response) = 0;
  virtual void Write(std::string_view data) = 0;
  // `last_data` and the end go out together, so that a client that stops reading at its [DONE] has the end of
  // the answer with it, and can use the connection again instead of closing it.
  virtual void EndStream(std::string_view last_data) = 0;
  virtual bool started() const = 0;  // Send() or StartStream() has been called

  // The client reads slower than we write: more than options.high_water_bytes wait. Write() still takes data,
  // but the caller should wait for OnDrained, so that memory stays bounded.
  virtual bool congested() const = 0;
  virtual void OnDrained(std::function<void()> callback) = 0;

  // Called once, and at once, when the client disconnects, is dropped, or the server stops before the answer
  // was complete.
  virtual void OnGone(std::function<void()> callback) = 0;
  // Called once when the exchange is over: with the status that was sent, or 499 if the client had gone
  // before. May be given several.
  virtual void OnDone(std::function<void(int status)> callback) = 0;
  // Called whenever nothing was written for `interval_us`, until the exchange is over.
  virtual void OnIdle(int64_t interval_us, std::function<void()> callback) = 0;
};

using HttpHandler = std::function<void(HttpRequest request, std::shared_ptr<ResponseWriter> response)>;

// "Not Found" for 404.
std::string_view HttpReason(int status);

}  // namespace penstock
