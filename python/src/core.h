// What both halves of the extension share: handles of the C ABI (plan/c_api.h) that destroy themselves, and
// its errors as Python's exceptions.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include "plan/c_api.h"

namespace penstock_python {

namespace nb = nanobind;

struct Destroy {
  void operator()(penstock_cost* cost) const { penstock_cost_destroy(cost); }
  void operator()(penstock_plan* plan) const { penstock_plan_destroy(plan); }
  void operator()(penstock_planner* planner) const { penstock_planner_destroy(planner); }
};

struct Cost {
  std::unique_ptr<penstock_cost, Destroy> handle;
};
struct Policy {
  std::unique_ptr<penstock_planner, Destroy> handle;
  int32_t max_tokens = 0;
};

// Calls function(arguments…, error, error_size).
template <typename Function, typename... Arguments>
void Call(Function function, Arguments... arguments) {
  char error[512] = "";
  switch (function(arguments..., error, sizeof error)) {
    case PENSTOCK_OK:
      return;
    case PENSTOCK_INVALID_ARGUMENT:
      throw nb::value_error(error);
    case PENSTOCK_OUT_OF_MEMORY:
      throw std::bad_alloc();
    case PENSTOCK_INTERNAL:
      break;
  }
  throw std::runtime_error(error);
}

// Takes the plan apart.
struct Plan {
  std::vector<int32_t> chunks;
  double makespan_us = 0;
  double target_us = 0;
};
inline Plan TakePlan(penstock_plan* raw) {
  const std::unique_ptr<penstock_plan, Destroy> plan(raw);
  const int32_t* chunks = penstock_plan_chunks(plan.get());
  return {std::vector<int32_t>(chunks, chunks + penstock_plan_num_chunks(plan.get())),
          penstock_plan_makespan_us(plan.get()), penstock_plan_target_us(plan.get())};
}

// Chunks as Python gives them: (pos, len) or (pos, len, is_decode).
inline std::vector<penstock_chunk> ReadChunks(nb::iterable chunks) {
  std::vector<penstock_chunk> read;
  for (nb::handle item : chunks) {
    const auto fields = nb::cast<nb::tuple>(item);
    if (fields.size() != 2 && fields.size() != 3) {
      throw nb::value_error("a chunk is (pos, len) or (pos, len, is_decode)");
    }
    read.push_back({nb::cast<int32_t>(fields[0]), nb::cast<int32_t>(fields[1]),
                    fields.size() == 3 && nb::cast<bool>(fields[2])});
  }
  return read;
}

void BindPolicies(nb::module_& module);

}  // namespace penstock_python
