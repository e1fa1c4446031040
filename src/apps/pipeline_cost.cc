// SPDX-License-Identifier: Apache-2.0
#include "apps/pipeline_cost.h"

#include <algorithm>

#include "apps/planner_setup.h"
#include "apps/progress.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/calibration.h"
#include "plan/cost_estimator.h"

namespace penstock {
namespace {

// Median errors of a fit over its own grid.
constexpr double kGoodError = 0.1;    // beyond, it is measured once more
constexpr double kWorstError = 0.25;  // beyond, it is not used

constexpr double kMicrosPerSecond = 1e6;

bool MustCalibrate(const RunConfig& run, const PipelineCost& cost) {
  if (run.calibration == CalibrationMode::kOff) return false;
  if (run.calibration == CalibrationMode::kAlways) return true;
  return !cost.model.known() && NeedsCost(run);
}

Calibrator MakeCalibrator(const RunConfig& run, const EnginePlan& plan) {
  const int64_t room = int64_t{plan.memory.num_blocks} * plan.options.block_size;
  return Calibrator(
      {.num_stages = run.layout.pp,
       .limits = {.max_chunk = plan.options.max_batched_tokens,
                  .max_len = static_cast<int32_t>(std::min<int64_t>(plan.options.max_model_len, room)),
                  .max_num_seqs = std::min(run.max_num_seqs, plan.options.max_batched_tokens),
                  .num_blocks = plan.memory.num_blocks,
                  .block_size = plan.options.block_size,
                  .vocab_size = plan.model.vocab_size},
       .budget_us = run.calibration_budget_us,
       .seed = 0});
}

void Save(const PipelineCost& cost, const SavedCostModel& saved) {
  const Status status = SaveCostModel(cost.path, cost.key, saved);
  if (!status.ok()) LogWarning("{}; the next start measures again", status.message());
}

void LogSamples(const CostModel& model, const std::vector<std::vector<CostSample>>& samples) {
  if (!LogEnabled(LogLevel::kDebug)) return;
  for (size_t stage = 0; stage < samples.size(); ++stage) {
    for (const CostSample& sample : samples[stage]) {
      const StepWork& work = sample.work;
      const double predicted_us = model.stages[stage].Predict(work);
      LogDebug(
          "stage {}: {} tokens in {} sequences, history {:.0f}, {} decoded after {:.0f}: {:.1f} ms, "
          "predicted "
          "{:.1f} ms ({:+.1f} %)",
          stage, work.tokens, work.seqs, work.history, work.decode_tokens, work.decode_context,
          sample.time_us / 1000, predicted_us / 1000, 100 * (predicted_us / sample.time_us - 1));
    }
  }
}

// One calibration: `cost` gets the model, its grid and its error. A model that is not known: it has failed.
Status MeasureOnce(const RunConfig& run, const EnginePlan& plan, Executor& executor, PipelineCost* cost) {
  const int64_t begin_us = NowUs();
  Calibrator calibrator = MakeCalibrator(run, plan);
  const Status status = [&] {
    Progress progress("Calibrating", ProgressUnit::kTimeLeft);
    return RunCalibration(executor, calibrator, [&](int64_t spent_us, int64_t total_us) {
      progress.Update(static_cast<uint64_t>(spent_us), static_cast<uint64_t>(total_us));
    });
  }();
  if (status.code() == StatusCode::kUnavailable) return status;
  CostEstimator estimator(run.layout.pp);
  if (!status.ok() || !estimator.SetGrid(calibrator.Samples())) {
    LogWarning("The calibration has failed{}", status.ok() ? "" : ": " + status.message());
    return OkStatus();
  }
  cost->model = estimator.ModelToSave();
  cost->grid = calibrator.Samples();
  cost->quality = WorstFit(cost->model, cost->grid);
  cost->seconds = static_cast<double>(NowUs() - begin_us) / kMicrosPerSecond;
  LogInfo(
      "Calibration took {:.1f} s: {} steps of {} shapes, the model's error is {:.1f} % (median), {:.1f} % "
      "(p90)",
      cost->seconds, calibrator.num_steps(), cost->grid[0].size(), 100 * cost->quality.median_error,
      100 * cost->quality.p90_error);
  LogSamples(cost->model, cost->grid);
  return OkStatus();
}

Status CalibrateNow(const RunConfig& run, const EnginePlan& plan, Executor& executor, PipelineCost* cost) {
  LogInfo("Calibrating the pipeline: takes up to about {} s{}; --calibration off leaves it out",
          static_cast<double>(run.calibration_budget_us) / kMicrosPerSecond,
          cost->path.empty() ? "" : ", once, and is kept in " + cost->path);
  RETURN_IF_ERROR(MeasureOnce(run, plan, executor, cost));
  if (cost->model.known() && cost->quality.median_error > kGoodError) {
    LogWarning("Something else keeps this machine busy: measuring once more.");
    PipelineCost again = *cost;
    RETURN_IF_ERROR(MeasureOnce(run, plan, executor, &again));
    if (again.quality.median_error < cost->quality.median_error) *cost = std::move(again);
  }
  if (!cost->model.known() || cost->quality.median_error > kWorstError) {
    LogWarning(
        "Nothing is known to plan with: chunks are static until the steps that are served have told how fast "
        "the pipeline is; the next start measures again.");
    cost->model = {};
    cost->grid.clear();
    return OkStatus();
  }
  if (!cost->path.empty()) Save(*cost, {.model = cost->model, .quality = cost->quality});
  return OkStatus();
}

}  // namespace

Result<PipelineCost> ObtainPipelineCost(const RunConfig& run, const EnginePlan& plan, Executor& executor) {
  PipelineCost cost;
  cost.key = MakeCostModelKey(run, plan);
  cost.path = CostModelPath(run, cost.key);
  if (run.calibration != CalibrationMode::kAlways) {
    LoadedCostModel loaded = LoadCostModel(cost.path, cost.key);
    if (!loaded.why_not.empty()) LogWarning("{}", loaded.why_not);
    if (loaded.saved) {
      cost.model = std::move(loaded.saved->model);
      cost.quality = loaded.saved->quality;
      LogInfo("The pipeline's speed is known from {}: no calibration", cost.path);
    }
  }
  if (MustCalibrate(run, cost)) RETURN_IF_ERROR(CalibrateNow(run, plan, executor, &cost));
  return cost;
}

FitQuality WorstFit(const CostModel& model, const std::vector<std::vector<CostSample>>& samples) {
  FitQuality worst;
  for (size_t stage = 0; stage < samples.size(); ++stage) {
    const FitQuality quality = MeasureFit(model.stages[stage], samples[stage]);
    worst.median_error = std::max(worst.median_error, quality.median_error);
    worst.p90_error = std::max(worst.p90_error, quality.p90_error);
    worst.num_samples = std::max(worst.num_samples, quality.num_samples);
  }
  return worst;
}

void SaveLearntCost(const PipelineCost& cost, const EngineStats& stats, int32_t fewest_steps) {
  if (cost.path.empty() || !stats.measured_cost.known() || stats.cost_error.num_samples < fewest_steps)
    return;
  if (stats.measured_cost == cost.model) return;
  Save(cost, {.model = stats.measured_cost, .quality = stats.cost_error});
  LogInfo("What was learnt of the pipeline's speed is kept in {}: error {:.1f} % (median), {:.1f} % (p90)",
          cost.path, 100 * stats.cost_error.median_error, 100 * stats.cost_error.p90_error);
}

}  // namespace penstock
