// CalibrationReport: what `penstock calibrate` prints.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "plan/cost_fit.h"
#include "plan/cost_model.h"

namespace penstock {

struct CalibrationReport {
  CostModel cost;     // after all of it
  FitQuality grid;    // of the grid's model, over the grid
  FitQuality unseen;  // of the grid's model, over the steps of the requests, which it had not seen
  FitQuality recent;  // of the predictions while the requests ran, by the model of the time
  double grid_seconds = 0;
  double hop_gap_us = 0;
  std::vector<double> ttfts_s;  // of the requests
  std::string path;             // where it is kept; empty: nowhere
};

std::string CalibrationText(const CalibrationReport& report);
Json CalibrationJson(const CalibrationReport& report);

}  // namespace penstock
