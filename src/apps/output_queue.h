// Runs requests on an engine from an ordinary thread: outputs come on the engine's thread, and are taken here
// one by one.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "base/bounded_queue.h"
#include "engine/engine.h"

namespace penstock {

// The outputs of several requests, in the order in which they came. The engine's thread never waits for room.
class OutputQueue {
 public:
  struct Item {
    size_t request_idx = 0;
    RequestOutput output;
  };

  // Submits a request whose outputs will carry `request_idx`.
  Status Submit(Engine& engine, Request request, size_t request_idx) {
    return engine.Submit(std::move(request), [queue = queue_, request_idx](RequestOutput output) {
      queue->Push(Item{request_idx, std::move(output)});
    });
  }

  // Waits for the next output.
  Item Next() { return *queue_->Pop(); }

 private:
  // Shared with the sinks, which the engine may hold for longer than this object lives.
  std::shared_ptr<BoundedQueue<Item>> queue_ =
      std::make_shared<BoundedQueue<Item>>(std::numeric_limits<size_t>::max());
};

}  // namespace penstock
