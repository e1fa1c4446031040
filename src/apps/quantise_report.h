// What `penstock quantize` says at the end.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "model/quantise/compare_models.h"
#include "model/quantise/quantise_model.h"

namespace penstock {

struct QuantiseSummary {
  std::string out_dir;
  std::string scheme;  // as --scheme has it
  QuantiseReport written;
  std::optional<ModelErrors> errors;  // where there was calibration data
  double seconds = 0;
};

std::string QuantiseText(const QuantiseSummary& summary);
Json QuantiseJson(const QuantiseSummary& summary);

}  // namespace penstock
