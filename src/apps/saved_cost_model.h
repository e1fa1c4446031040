// SavedCostModel on disk: what was measured of a pipeline, so that the next start need not measure again.
//
// Whatever is wrong with a file, the pipeline can be measured again: nothing here is an error for the caller
// but a file that cannot be written.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "apps/engine_plan.h"
#include "apps/run_config.h"
#include "base/status.h"
#include "plan/cost_model_json.h"

namespace penstock {

// Reads config.json and the sizes of the weights of the model, /proc/cpuinfo, and this program itself.
CostModelKey MakeCostModelKey(const RunConfig& run, const EnginePlan& plan);

// --cost-model, else a file of the cache directory whose name is made of the key but for the build, so that a
// new build replaces the file of the old one. Empty where there is no such directory.
std::string CostModelPath(const RunConfig& run, const CostModelKey& key);

// `why_not` says, in one line, why a file that is there was not taken: foreign (with the field that differs),
// corrupt. Empty where there is no file.
struct LoadedCostModel {
  std::optional<SavedCostModel> saved;
  std::string why_not;
};
LoadedCostModel LoadCostModel(const std::string& path, const CostModelKey& key);

// Makes the directories that are missing. The file is there as a whole or not at all. kInternal if it cannot
// be written. REQUIRES: `saved` is of the key's pipeline.
Status SaveCostModel(const std::string& path, const CostModelKey& key, const SavedCostModel& saved);

}  // namespace penstock
