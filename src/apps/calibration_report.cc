// SPDX-License-Identifier: Apache-2.0
#include "apps/calibration_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace penstock {
namespace {

Json QualityJson(const FitQuality& quality) {
  return {{"median_error", quality.median_error},
          {"p90_error", quality.p90_error},
          {"num_samples", quality.num_samples}};
}

std::string QualityText(std::string_view what, const FitQuality& quality) {
  return fmt::format("{:<26} {:>5.1f} % median, {:>5.1f} % p90, {} samples\n", what,
                     100 * quality.median_error, 100 * quality.p90_error, quality.num_samples);
}

}  // namespace

std::string CalibrationText(const CalibrationReport& report) {
  std::string text =
      "Microseconds per            step      token      floor        1M pairs    1M history        seq  "
      "decode token  1M decode context\n";
  for (size_t i = 0; i < report.cost.stages.size(); ++i) {
    const StageCost& stage = report.cost.stages[i];
    text += fmt::format(
        "stage {:<16} {:>10.1f} {:>10.3f} {:>10.1f} {:>15.1f} {:>13.1f} {:>10.1f} {:>13.1f} {:>18.1f}\n", i,
        stage.step_us, stage.token_us, stage.floor_us, stage.pair_us * 1e6, stage.history_us * 1e6,
        stage.seq_us, stage.decode_token_us, stage.decode_context_us * 1e6);
  }
  text += QualityText("Error on the grid:", report.grid);
  text += QualityText("Of it on other steps:", report.unseen);
  text += QualityText("While learning on:", report.recent);
  text += fmt::format("Grid: {:.1f} s. Hop: {:.0f} us. First tokens: {:.3f} s\n", report.grid_seconds,
                      report.hop_gap_us, fmt::join(report.ttfts_s, ", "));
  return text + (report.path.empty() ? "Not kept: there is no cache directory; --cost-model names a file.\n"
                                     : fmt::format("Kept in {}\n", report.path));
}

Json CalibrationJson(const CalibrationReport& report) {
  Json stages = Json::array();
  for (const StageCost& stage : report.cost.stages) {
    stages.push_back({{"step_us", stage.step_us},
                      {"token_us", stage.token_us},
                      {"floor_us", stage.floor_us},
                      {"pair_us", stage.pair_us},
                      {"history_us", stage.history_us},
                      {"seq_us", stage.seq_us},
                      {"decode_token_us", stage.decode_token_us},
                      {"decode_context_us", stage.decode_context_us}});
  }
  return {{"stages", stages},
          {"grid", QualityJson(report.grid)},
          {"unseen", QualityJson(report.unseen)},
          {"recent", QualityJson(report.recent)},
          {"grid_seconds", report.grid_seconds},
          {"hop_gap_us", report.hop_gap_us},
          {"ttfts_s", report.ttfts_s},
          {"saved_to", report.path.empty() ? Json() : Json(report.path)}};
}

}  // namespace penstock
