// Context: the budget and the error of one rendering.
//
// A template is somebody else's program, and its input is a stranger's: it may loop, recurse and multiply
// strings. Every evaluated node and every 256 bytes that are touched cost a step, every live string, list and
// dict counts its bytes, nesting is counted, and a limit that is passed is an error like any other.
//
// The first error sticks: from then on failed() is true, values are undefined and nothing more is done. That
// keeps the evaluator free of error plumbing in expressions.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"

namespace penstock::jinja {

struct Limits {
  int64_t max_steps = 50'000'000;  // some seconds
  int max_depth = 500;             // of evaluation: expressions, blocks and macro calls inside each other
  size_t max_output_bytes = 64u << 20;
  size_t max_live_bytes = size_t{512} << 20;  // strings, lists and dicts that exist at one time
};

class Context {
 public:
  // `now` is for strftime_now().
  Context(const Limits& limits, std::time_t now)
      : limits_(limits), now_(now), steps_left_(limits.max_steps) {}

  const Limits& limits() const { return limits_; }
  std::time_t now() const { return now_; }
  bool failed() const { return !status_.ok(); }
  const Status& status() const { return status_; }

  template <typename... Args>
  void Fail(fmt::format_string<Args...> format, Args&&... args) {
    FailWith(
        fmt::format("chat template, line {}: {}", line_, fmt::format(format, std::forward<Args>(args)...)));
  }
  // Without the place: what the template itself says (raise_exception).
  void FailWith(std::string message) {
    if (status_.ok()) status_ = Status(StatusCode::kInvalidArgument, std::move(message));
  }

  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  // Takes `cost` steps. False if the rendering has failed or is over its budget.
  bool Step(size_t cost = 1) {
    steps_left_ -= static_cast<int64_t>(cost);
    if (steps_left_ < 0 && !failed()) [[unlikely]]
      Fail("more than {} steps", limits_.max_steps);
    return !failed();
  }
  bool StepBytes(size_t bytes) { return Step(1 + bytes / 256); }
  // For work on each of `count` characters.
  bool StepChars(size_t count) { return Step(1 + count / 32); }

  // Counts `bytes` as live, before they are allocated. False, and nothing counted, if that would be too many.
  bool Charge(size_t bytes) {
    if (bytes > limits_.max_live_bytes - live_bytes_) {
      Fail("more than {} bytes in use", limits_.max_live_bytes);
      return false;
    }
    live_bytes_ += bytes;
    return StepBytes(bytes);
  }
  void Release(size_t bytes) { live_bytes_ -= bytes; }
  // Is there room for `bytes` more? Fails if not.
  bool HasRoom(size_t bytes) {
    if (bytes > limits_.max_live_bytes - live_bytes_)
      Fail("more than {} bytes in use", limits_.max_live_bytes);
    return !failed();
  }
  size_t live_bytes() const { return live_bytes_; }
  // Keeps an object that changes, or is referred to by address, until the end of the rendering.
  void Own(std::shared_ptr<void> object) { owned_.push_back(std::move(object)); }

  // One level deeper for the life of this object.
  class Deeper {
   public:
    explicit Deeper(Context& context) : context_(context) {
      if (++context_.depth_ > context_.limits_.max_depth)
        context_.Fail("nested deeper than {}", context_.limits_.max_depth);
    }
    ~Deeper() { --context_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Context& context_;
  };

 private:
  const Limits limits_;
  const std::time_t now_;
  int64_t steps_left_;
  size_t live_bytes_ = 0;
  int depth_ = 0;
  int line_ = 0;
  Status status_;
  std::vector<std::shared_ptr<void>> owned_;  // last: what it holds counts against the rest
};

}  // namespace penstock::jinja
