// penstock_plan._core: policies, and vLLM-Ascend's models.
//
// SPDX-License-Identifier: Apache-2.0
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

#include "core.h"
#include "plan/profiling_chunk_manager.h"

namespace penstock_python {
namespace {

using Manager = penstock::ProfilingChunkManager;

Policy MakePolicy(const std::string& policy, int32_t max_tokens, int32_t block_size, int32_t max_model_len,
                  int32_t tile, double max_step_us, std::optional<double> smooth_factor,
                  std::optional<int32_t> min_chunk, bool need_timing, int32_t max_fit_chunk,
                  bool release_behaviour) {
  if (smooth_factor == 0.0) throw nb::value_error("smooth_factor is 0, expected in (0, 1]");
  if (min_chunk == 0) throw nb::value_error("min_chunk is 0, expected >= 1");
  const penstock_planner_options options = {sizeof options,
                                            policy.c_str(),
                                            max_tokens,
                                            block_size,
                                            tile,
                                            max_model_len,
                                            max_step_us,
                                            smooth_factor.value_or(0),
                                            min_chunk.value_or(0),
                                            max_fit_chunk,
                                            !need_timing,
                                            release_behaviour,
                                            0};
  penstock_planner* planner = nullptr;
  Call(penstock_planner_create, &options, &planner);
  return {std::unique_ptr<penstock_planner, Destroy>(planner), max_tokens};
}

void BeginStep(Policy& policy, nb::iterable prefills, nb::iterable step_chunks, int32_t steps_in_flight,
               std::optional<int32_t> max_tokens) {
  std::vector<penstock_demand> demands;
  for (nb::handle item : prefills) {
    const auto fields = nb::cast<nb::tuple>(item);
    if (fields.size() != 4) throw nb::value_error("a prefill is (seq, pos, remaining, is_running)");
    demands.push_back({nb::cast<uint64_t>(fields[0]), nb::cast<int32_t>(fields[1]),
                       nb::cast<int32_t>(fields[2]), nb::cast<bool>(fields[3]), 0});
  }
  const std::vector<penstock_chunk> chunks = ReadChunks(step_chunks);
  Call(penstock_planner_begin_step, policy.handle.get(), demands.data(), demands.size(), chunks.data(),
       chunks.size(), steps_in_flight, max_tokens.value_or(policy.max_tokens));
}

int32_t NextChunk(Policy& policy, uint64_t seq, int32_t pos, int32_t remaining, int32_t max_len,
                  nb::iterable step_chunks) {
  const std::vector<penstock_chunk> chunks = ReadChunks(step_chunks);
  int32_t len = 0;
  Call(penstock_planner_next_chunk, policy.handle.get(), seq, pos, remaining, max_len, chunks.data(),
       chunks.size(), &len);
  return len;
}

void OnStep(Policy& policy, nb::iterable chunks, nb::iterable stamps) {
  const std::vector<penstock_chunk> read_chunks = ReadChunks(chunks);
  std::vector<penstock_stamp> read_stamps;
  for (nb::handle item : stamps) {
    const auto fields = nb::cast<nb::tuple>(item);
    if (fields.size() != 3) throw nb::value_error("a stamp is (recv_us, begin_us, end_us)");
    read_stamps.push_back(
        {nb::cast<int64_t>(fields[0]), nb::cast<int64_t>(fields[1]), nb::cast<int64_t>(fields[2])});
  }
  Call(penstock_planner_on_step, policy.handle.get(), read_chunks.data(), read_chunks.size(),
       read_stamps.data(), read_stamps.size());
}

Plan Replay(Policy& policy, const Cost& cost, int64_t length, int64_t pos,
            std::optional<int32_t> max_tokens) {
  penstock_plan* plan = nullptr;
  Call(penstock_planner_replay, policy.handle.get(), cost.handle.get(), pos, length,
       max_tokens.value_or(policy.max_tokens), &plan);
  return TakePlan(plan);
}

// ---- vLLM-Ascend's models ------------------------------------------------------------

void CheckPositive(const char* name, int64_t value) {
  if (value <= 0) {
    throw nb::value_error((std::string(name) + " is " + std::to_string(value) + ", expected > 0").c_str());
  }
}

void MakeManager(Manager* self, int32_t base_chunk, int32_t page, double smooth_factor, int32_t min_chunk,
                 int32_t max_fit_chunk, bool release_behaviour) {
  CheckPositive("base_chunk", base_chunk);
  CheckPositive("page", page);
  CheckPositive("min_chunk", min_chunk);
  CheckPositive("max_fit_chunk", max_fit_chunk);
  new (self) Manager(base_chunk, page,
                     {.smooth_factor = smooth_factor,
                      .min_chunk = min_chunk,
                      .max_fit_chunk = max_fit_chunk,
                      .release_behaviour = release_behaviour});
}

std::vector<penstock::ChunkShape> ReadShapes(nb::iterable chunks) {
  std::vector<penstock::ChunkShape> shapes;
  for (const penstock_chunk& chunk : ReadChunks(chunks)) {
    shapes.push_back({.pos = chunk.pos, .len = chunk.len, .is_decode = chunk.is_decode != 0});
  }
  return shapes;
}

bool FinishProfiling(Manager& manager, const std::vector<double>& lens, const std::vector<double>& times_ms) {
  if (lens.size() != times_ms.size()) throw nb::value_error("expected as many times as lengths");
  return manager.FinishProfiling(lens, times_ms);
}

nb::tuple Coefficients(const penstock::TimeCurve& curve) { return nb::make_tuple(curve.a, curve.b, curve.c); }

void BindManager(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<Manager>(module, "EqualLatencyModel",
                      "The models and the calibration of vLLM-Ascend's rule; milliseconds.")
      .def("__init__", &MakeManager, "base_chunk"_a, "page"_a, "smooth_factor"_a = 0.8, "min_chunk"_a = 4096,
           "max_fit_chunk"_a = 30, "release_behaviour"_a = false)
      .def_static("profile_lengths", &Manager::ProfileLengths, "base_chunk"_a)
      .def("finish_profiling", &FinishProfiling, "lens"_a, "times_ms"_a)
      .def("predict_chunk_size", &Manager::PredictChunkSize, "pos"_a, "target_ms"_a = 0.0)
      .def("predict_time_ms", &Manager::PredictTime, "length"_a, "pos"_a)
      .def(
          "record_batch",
          [](Manager& manager, nb::iterable chunks, double ms) {
            return manager.RecordBatch(ReadShapes(chunks), ms);
          },
          "chunks"_a, "time_ms"_a)
      .def(
          "on_batch",
          [](Manager& manager, nb::iterable chunks, double ms) { manager.OnBatch(ReadShapes(chunks), ms); },
          "chunks"_a, "time_ms"_a)
      .def(
          "set_target",
          [](Manager& manager, double ms) { manager.predictor().SetTargetLatency(manager.base_chunk(), ms); },
          "time_ms"_a = 0.0)
      .def_prop_ro("is_ready", &Manager::is_ready)
      .def_prop_ro("history_ready", &Manager::history_ready)
      .def_prop_ro("history_fitted", [](const Manager& m) { return m.predictor().history_fitted(); })
      .def_prop_ro("calibration_done", &Manager::calibration_done)
      .def_prop_ro("num_samples", &Manager::num_samples)
      .def_prop_ro("target_ms", [](const Manager& m) { return m.predictor().target_ms(); })
      .def_prop_ro("basic", [](const Manager& m) { return Coefficients(m.predictor().basic()); })
      .def_prop_ro("with_history",
                   [](const Manager& m) { return Coefficients(m.predictor().with_history()); });
}

}  // namespace

void BindPolicies(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<Policy>(module, "Policy", "A policy that cuts prompts into chunks, asked step by step.")
      .def(
          "__init__",
          [](Policy* self, const std::string& policy, int32_t max_tokens, int32_t block_size,
             int32_t max_model_len, int32_t tile, double max_step_us, std::optional<double> smooth_factor,
             std::optional<int32_t> min_chunk, bool need_timing, int32_t max_fit_chunk,
             bool release_behaviour) {
            new (self)
                Policy(MakePolicy(policy, max_tokens, block_size, max_model_len, tile, max_step_us,
                                  smooth_factor, min_chunk, need_timing, max_fit_chunk, release_behaviour));
          },
          "policy"_a, nb::kw_only(), "max_tokens"_a, "block_size"_a, "max_model_len"_a, "tile"_a = 1,
          "max_step_us"_a = 0.0, "smooth_factor"_a = nb::none(), "min_chunk"_a = nb::none(),
          "need_timing"_a = true, "max_fit_chunk"_a = 30, "release_behaviour"_a = false)
      .def_prop_ro(
          "name",
          [](const Policy& policy) { return std::string(penstock_planner_policy(policy.handle.get())); })
      .def(
          "set_cost",
          [](Policy& policy, const Cost& cost) {
            Call(penstock_planner_set_cost, policy.handle.get(), cost.handle.get());
          },
          "cost"_a)
      .def("begin_step", &BeginStep, "prefills"_a, nb::kw_only(), "step_chunks"_a = nb::make_tuple(),
           "steps_in_flight"_a = 0, "max_tokens"_a = nb::none(),
           "prefills: (seq, pos, remaining, is_running), in the order of service.")
      .def("next_chunk", &NextChunk, "seq"_a, nb::kw_only(), "pos"_a, "remaining"_a, "max_len"_a,
           "step_chunks"_a = nb::make_tuple(), "0 (leave it for a later step) to max_len.")
      .def("on_step", &OnStep, "chunks"_a, "stamps"_a, "stamps: (recv_us, begin_us, end_us) of each stage.");
  module.def(
      "replay", &Replay, "policy"_a, "cost"_a, "length"_a, nb::kw_only(), "pos"_a = 0,
      "max_tokens"_a = nb::none(),
      "What the policy cuts of a prompt that is alone, when every step takes exactly what the cost says. "
      "The policy is told the cost and every step's time, and remembers.");
  BindManager(module);
}

}  // namespace penstock_python
