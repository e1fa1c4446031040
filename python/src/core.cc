// penstock_plan._core: costs and plans.
//
// SPDX-License-Identifier: Apache-2.0
#include "core.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>

namespace penstock_python {
namespace {

using StageCost = penstock_stage_cost;

struct StageFit {
  StageCost cost;
  penstock_fit_quality quality;
};

StageCost MakeStage(double step_us, double token_us, double floor_us, double pair_us, double history_us,
                    double seq_us, double decode_token_us, double decode_context_us) {
  return {sizeof(StageCost), step_us, token_us,        floor_us,         pair_us,
          history_us,        seq_us,  decode_token_us, decode_context_us};
}

Cost MakeCost(const std::vector<StageCost>& stages) {
  penstock_cost* cost = nullptr;
  Call(penstock_cost_create, stages.data(), stages.size(), &cost);
  return {std::unique_ptr<penstock_cost, Destroy>(cost)};
}

Cost MakeWholeCost(size_t num_stages, double alpha, double beta, double gamma, double floor, double d0,
                   const std::optional<std::vector<double>>& shares) {
  if (shares && shares->size() != num_stages) throw nb::value_error("shares: expected one for each stage");
  const penstock_whole_cost whole = {sizeof(penstock_whole_cost), alpha, beta, gamma, floor, d0};
  penstock_cost* cost = nullptr;
  Call(penstock_cost_create_whole, &whole, shares ? shares->data() : nullptr, num_stages, &cost);
  return {std::unique_ptr<penstock_cost, Destroy>(cost)};
}

std::vector<StageCost> Stages(const Cost& cost) {
  std::vector<StageCost> stages(penstock_cost_num_stages(cost.handle.get()));
  for (size_t s = 0; s < stages.size(); ++s) {
    stages[s].struct_size = sizeof(StageCost);
    Call(penstock_cost_stage, cost.handle.get(), s, &stages[s]);
  }
  return stages;
}

std::vector<double> Predict(const Cost& cost, nb::iterable chunks) {
  const std::vector<penstock_chunk> read = ReadChunks(chunks);
  std::vector<double> stage_us(penstock_cost_num_stages(cost.handle.get()));
  Call(penstock_cost_predict, cost.handle.get(), read.data(), read.size(), stage_us.data());
  return stage_us;
}

StageFit FitStage(nb::iterable samples, const std::optional<StageCost>& prior) {
  std::vector<std::vector<penstock_chunk>> chunks;
  std::vector<penstock_sample> read;
  for (nb::handle item : samples) {
    const auto fields = nb::cast<nb::tuple>(item);
    if (fields.size() != 2 && fields.size() != 3) {
      throw nb::value_error("a sample is (chunks, time_us) or (chunks, time_us, weight)");
    }
    chunks.push_back(ReadChunks(nb::cast<nb::iterable>(fields[0])));
    read.push_back(
        {nullptr, 0, nb::cast<double>(fields[1]), fields.size() == 3 ? nb::cast<double>(fields[2]) : 1.0});
  }
  for (size_t i = 0; i < read.size(); ++i) {
    read[i].chunks = chunks[i].data();
    read[i].num_chunks = chunks[i].size();
  }
  StageFit fit = {};
  fit.cost.struct_size = sizeof fit.cost;
  fit.quality.struct_size = sizeof fit.quality;
  Call(penstock_fit_stage, read.data(), read.size(), prior ? &*prior : nullptr, &fit.cost, &fit.quality);
  return fit;
}

penstock_plan_limits MakeLimits(int32_t max_chunk, int32_t align, int32_t min_chunk, double max_step_us) {
  return {sizeof(penstock_plan_limits), align, min_chunk, max_chunk, max_step_us};
}

Plan PlanPrompt(const Cost& cost, int64_t length, int32_t max_chunk, int64_t pos, int32_t align,
                int32_t min_chunk, double max_step_us) {
  const penstock_plan_limits limits = MakeLimits(max_chunk, align, min_chunk, max_step_us);
  penstock_plan* plan = nullptr;
  Call(penstock_plan_prompt, cost.handle.get(), pos, length, &limits, &plan);
  return TakePlan(plan);
}

int32_t NextEqualChunk(const Cost& cost, int64_t length, double target_us, int32_t max_chunk, int64_t pos,
                       int32_t align, int32_t min_chunk, double max_step_us) {
  const penstock_plan_limits limits = MakeLimits(max_chunk, align, min_chunk, max_step_us);
  int32_t chunk = 0;
  Call(penstock_next_equal_chunk, cost.handle.get(), pos, length, target_us, &limits, &chunk);
  return chunk;
}

double Makespan(const Cost& cost, const std::vector<int32_t>& chunks, int64_t pos) {
  double makespan_us = 0;
  Call(penstock_makespan, cost.handle.get(), pos, chunks.data(), chunks.size(), &makespan_us);
  return makespan_us;
}

double Ideal(const Cost& cost, int64_t length, int64_t pos) {
  double ideal_us = 0;
  Call(penstock_ideal, cost.handle.get(), pos, length, &ideal_us);
  return ideal_us;
}

void BindCosts(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<StageCost>(module, "StageCost", "What a stage takes for a step; microseconds.")
      .def(
          "__init__",
          [](StageCost* self, double step_us, double token_us, double floor_us, double pair_us,
             double history_us, double seq_us, double decode_token_us, double decode_context_us) {
            new (self) StageCost(MakeStage(step_us, token_us, floor_us, pair_us, history_us, seq_us,
                                           decode_token_us, decode_context_us));
          },
          nb::kw_only(), "step_us"_a = 0.0, "token_us"_a = 0.0, "floor_us"_a = 0.0, "pair_us"_a = 0.0,
          "history_us"_a = 0.0, "seq_us"_a = 0.0, "decode_token_us"_a = 0.0, "decode_context_us"_a = 0.0)
      .def_ro("step_us", &StageCost::step_us)
      .def_ro("token_us", &StageCost::token_us)
      .def_ro("floor_us", &StageCost::floor_us)
      .def_ro("pair_us", &StageCost::pair_us)
      .def_ro("history_us", &StageCost::history_us)
      .def_ro("seq_us", &StageCost::seq_us)
      .def_ro("decode_token_us", &StageCost::decode_token_us)
      .def_ro("decode_context_us", &StageCost::decode_context_us);

  nb::class_<Cost>(module, "CostModel", "What each stage of a pipeline takes for a step.")
      .def(
          "__init__",
          [](Cost* self, const std::vector<StageCost>& stages) { new (self) Cost(MakeCost(stages)); },
          "stages"_a)
      .def_static("whole", &MakeWholeCost, "num_stages"_a, nb::kw_only(), "alpha"_a, "beta"_a = 0.0,
                  "gamma"_a = 0.0, "floor"_a = 0.0, "d0"_a = 0.0, "shares"_a = nb::none(),
                  "d0 + share (((alpha c)^3 + floor^3)^(1/3) + beta (h c + c^2 / 2) + gamma h) SECONDS for a "
                  "chunk of c tokens after h.")
      .def_prop_ro("stages", &Stages)
      .def_prop_ro("num_stages", [](const Cost& cost) { return penstock_cost_num_stages(cost.handle.get()); })
      .def("predict_us", &Predict, "chunks"_a,
           "Each stage's time for a step of chunks (pos, len) or (pos, len, is_decode).")
      .def("ideal_us", &Ideal, "length"_a, nb::kw_only(), "pos"_a = 0,
           "The work alone, shared equally by the stages.");

  nb::class_<StageFit>(module, "StageFit")
      .def_ro("cost", &StageFit::cost)
      .def_prop_ro("ok", [](const StageFit& fit) { return fit.quality.ok != 0; })
      .def_prop_ro("median_error", [](const StageFit& fit) { return fit.quality.median_error; })
      .def_prop_ro("p90_error", [](const StageFit& fit) { return fit.quality.p90_error; })
      .def_prop_ro("num_samples", [](const StageFit& fit) { return fit.quality.num_samples; });
  module.def("fit_stage", &FitStage, "samples"_a, "prior"_a = nb::none(),
             "One stage's cost from measured steps: (chunks, time_us) or (chunks, time_us, weight).");
}

void BindPlans(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<Plan>(module, "Plan", "A prompt's chunks and when the last one leaves the pipeline.")
      .def_ro("chunks", &Plan::chunks)
      .def_ro("makespan_us", &Plan::makespan_us)
      .def_ro("target_us", &Plan::target_us);
  module.def("plan_prompt", &PlanPrompt, "cost"_a, "length"_a, "max_chunk"_a, nb::kw_only(), "pos"_a = 0,
             "align"_a = 1, "min_chunk"_a = 1, "max_step_us"_a = 0.0,
             "The chunks whose last one leaves the pipeline soonest.");
  module.def("next_equal_chunk", &NextEqualChunk, "cost"_a, "length"_a, "target_us"_a, "max_chunk"_a,
             nb::kw_only(), "pos"_a = 0, "align"_a = 1, "min_chunk"_a = 1, "max_step_us"_a = 0.0,
             "The first of the fewest equal chunks that take at most about target_us each.");
  module.def("makespan_us", &Makespan, "cost"_a, "chunks"_a, nb::kw_only(), "pos"_a = 0);
}

}  // namespace
}  // namespace penstock_python

NB_MODULE(_core, module) {
  module.attr("API_VERSION") = penstock_plan_api_version();
  penstock_python::BindCosts(module);
  penstock_python::BindPlans(module);
  penstock_python::BindPolicies(module);
}
