// What both halves of the C ABI (c_api.cc, c_api_planner.cc) need: the handles, and the way in and out.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/status.h"
#include "plan/c_api.h"
#include "plan/chunk_planner.h"
#include "plan/cost_model.h"
#include "plan/prompt_plan.h"

struct penstock_cost {
  penstock::CostModel model;
};
struct penstock_plan {
  penstock::PromptPlan plan;
};
struct penstock_planner {
  std::unique_ptr<penstock::ChunkPlanner> planner;
  std::string policy;
  bool step_begun = false;
};

namespace penstock {

inline penstock_status Answer(penstock_status status, const char* message, char* error, size_t error_size) {
  if (error != nullptr && error_size > 0) {
    const size_t len = std::min(std::strlen(message), error_size - 1);
    std::memcpy(error, message, len);
    error[len] = 0;
  }
  return status;
}

// Runs a call's body, which returns a Status; nothing that is thrown gets out.
template <typename Body>
penstock_status Guarded(char* error, size_t error_size, Body&& body) noexcept {
  try {
    const Status status = body();
    if (status.ok()) return PENSTOCK_OK;
    const bool is_callers = status.code() == StatusCode::kInvalidArgument;
    return Answer(is_callers ? PENSTOCK_INVALID_ARGUMENT : PENSTOCK_INTERNAL, status.message().c_str(), error,
                  error_size);
  } catch (const std::bad_alloc&) {
    return Answer(PENSTOCK_OUT_OF_MEMORY, "out of memory", error, error_size);
  } catch (const std::exception& exception) {
    return Answer(PENSTOCK_INTERNAL, exception.what(), error, error_size);
  } catch (...) {
    return Answer(PENSTOCK_INTERNAL, "unknown exception", error, error_size);
  }
}

inline Status CheckPointer(const void* pointer, const char* name) {
  return pointer != nullptr ? OkStatus() : InvalidArgument("{} is NULL", name);
}

// A struct as this version knows it: what an older caller's lacks is 0.
template <typename Struct>
Result<Struct> ReadSized(const Struct* given, const char* name) {
  RETURN_IF_ERROR(CheckPointer(given, name));
  if (given->struct_size < sizeof(size_t)) {
    return InvalidArgument("{}: struct_size is {}, expected sizeof", name, given->struct_size);
  }
  const char* bytes = reinterpret_cast<const char*>(given);
  for (size_t i = sizeof(Struct); i < given->struct_size; ++i) {
    if (bytes[i] != 0) {
      return InvalidArgument("{}: a field beyond the {} bytes that version {} knows is set", name,
                             sizeof(Struct), PENSTOCK_PLAN_API_VERSION);
    }
  }
  Struct read = {};
  std::memcpy(static_cast<void*>(&read), bytes, std::min(given->struct_size, sizeof(Struct)));
  return read;
}

// As much of `value` as the caller's version has room for.
template <typename Struct>
Status WriteSized(const Struct& value, Struct* result, const char* name) {
  RETURN_IF_ERROR(CheckPointer(result, name));
  const size_t size = result->struct_size;
  if (size < sizeof(size_t)) return InvalidArgument("{}: struct_size is {}, expected sizeof", name, size);
  std::memcpy(static_cast<void*>(result), &value, std::min(size, sizeof(Struct)));
  result->struct_size = size;
  return OkStatus();
}

// 0 or more tokens that are computed, and some that are not.
inline Status CheckSpan(int64_t pos, int64_t len) {
  constexpr int64_t kMost = 1 << 30;
  if (pos < 0 || len <= 0 || pos > kMost || len > kMost - pos) {
    return InvalidArgument("prompt of {} tokens after {}: expected > 0 after >= 0, at most 2^30 together",
                           len, pos);
  }
  return OkStatus();
}

// Not so many chunks that planning them takes for ever.
inline Status CheckNumChunks(int64_t len, int32_t max_chunk) {
  constexpr int64_t kMost = 1 << 16;
  if (len / max_chunk < kMost) return OkStatus();
  return InvalidArgument("{} tokens in chunks of at most {}: over {} chunks", len, max_chunk, kMost);
}

// A cost by which plans can be made.
inline Status CheckCost(const penstock_cost* cost) {
  RETURN_IF_ERROR(CheckPointer(cost, "cost"));
  if (cost->model.BottleneckChunkUs(0, 1) > 0) return OkStatus();
  return InvalidArgument("cost: chunks of prompts cost nothing");
}

inline Result<std::vector<ChunkShape>> ReadChunks(const penstock_chunk* chunks, size_t num_chunks) {
  if (num_chunks > 0) RETURN_IF_ERROR(CheckPointer(chunks, "chunks"));
  std::vector<ChunkShape> shapes;
  shapes.reserve(num_chunks);
  for (size_t i = 0; i < num_chunks; ++i) {
    const Status valid = CheckSpan(chunks[i].pos, chunks[i].len);
    if (!valid.ok()) return valid.WithContext(fmt::format("chunk {}", i));
    shapes.push_back({.pos = chunks[i].pos, .len = chunks[i].len, .is_decode = chunks[i].is_decode != 0});
  }
  return shapes;
}

}  // namespace penstock
