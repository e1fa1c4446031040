// StagePacket: what travels from a rank to the rank of the same lane in the next stage, and how it is handed
// over.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "plan/step.h"
#include "tensor/buffer.h"
#include "tensor/mat.h"

namespace penstock {

struct StagePacket {
  std::unique_ptr<Step> step;          // all lanes have the same
  std::unique_ptr<StepResult> result;  // as far as it is known; lane 0 only
  // [max_batched_tokens, hidden_dim], the first step->num_tokens() rows in use; what they hold of the step is
  // the model's business. Of stage 0: not written yet.
  Buffer hidden;
  bool sequence_parallel = false;  // ModelBatch::sequence_parallel
  bool is_void = false;            // the pipeline ends: nothing is done with it any more, but handing it on
  int64_t recv_us = 0;             // when it had arrived, by this rank's clock; set by the inlet

  // Between processes only these rows travel: what Model::OwnRows() of the sender named. Set by
  // Stage::Execute().
  Mat own_rows;
  // Such rows, none maybe, have been received into the beginning of `hidden`.
  bool hidden_is_own_rows = false;
};

// Where a rank's packets come from.
class PacketInlet {
 public:
  virtual ~PacketInlet() = default;
  // Waits for the next packet, with a buffer for its hidden states. Nothing: no more will come.
  virtual std::optional<StagePacket> Pop() = 0;
};

// The first of a lane in this process, which has the buffers. What has been made with one gives it back.
class HeadInlet : public PacketInlet {
 public:
  // From any thread.
  virtual void Return(Buffer hidden) = 0;
};

// Where they go to. The last one in this process that has `hidden` gives it back to the lane's first inlet.
class PacketOutlet {
 public:
  virtual ~PacketOutlet() = default;
  virtual void Push(StagePacket packet) = 0;
  // No more will come: the next inlet ends when it has given out what there is.
  virtual void Close() = 0;
};

}  // namespace penstock
