// JsonEvents: JSON read as a stream of events, for texts too large to hold as a tree (the headers and indices
// of checkpoints with a hundred thousand tensors), and where a duplicate key is an error.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace penstock {

// A string, a non-negative integer, or anything else that is neither object nor array.
struct JsonScalar {
  const std::string* text = nullptr;
  std::optional<uint64_t> number;
};

// Each handler's error ends the parse and is what ParseJsonEvents returns.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual Status Open(bool is_object) = 0;  // { or [
  virtual Status Close() = 0;               // } or ]
  virtual Status Key(const std::string& key) = 0;
  virtual Status Scalar(const JsonScalar& value) = 0;
};

// kInvalidArgument for what is not JSON, naming the byte. The parser does not recurse.
Status ParseJsonEvents(std::string_view text, JsonEvents& events);

}  // namespace penstock
