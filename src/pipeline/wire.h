// What ranks of different processes say to each other, as bytes: a step, what is known of its result, and the
// little else that travels with them.
//
// Fixed binary fields in the order of wire.cc, little-endian; the frame around them carries the version
// (comm/message_frame.h). Every count is checked against what is left, and against the limits below, before
// memory is taken.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "pipeline/packet.h"
#include "plan/step.h"

namespace penstock {

// All of a packet but its hidden states; whether there are rows of them to come (of a step with fewer tokens
// than ranks there may be none for this one) is in hidden_is_own_rows.
std::vector<std::byte> EncodePacket(const StagePacket& packet);
Result<StagePacket> DecodePacket(std::span<const std::byte> bytes);

std::vector<std::byte> EncodeResult(const StepResult& result);
Result<StepResult> DecodeResult(std::span<const std::byte> bytes);

}  // namespace penstock
