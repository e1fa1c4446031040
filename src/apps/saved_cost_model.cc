// SPDX-License-Identifier: Apache-2.0
#include "apps/saved_cost_model.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <span>
#include <system_error>

#include "apps/flag_help.h"
#include "base/affinity.h"
#include "base/json.h"
#include "sched/sip_hash.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMostBytes = 1 << 20;  // far more than any such file has

std::string HashText(std::string_view text) {
  const SipDigest digest = SipHash128(SipKey{}, std::as_bytes(std::span(text)));
  return fmt::format("{:016x}", digest[0]);
}

// Of the config, and of the names and sizes of the weights.
std::string HashModel(const std::string& model_dir) {
  std::vector<std::string> parts;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(model_dir, error)) {
    if (entry.path().extension() != ".safetensors") continue;
    std::error_code size_error;
    parts.push_back(fmt::format("{} {}", entry.path().filename().string(), entry.file_size(size_error)));
  }
  std::sort(parts.begin(), parts.end());
  Result<std::string> config = ReadTextFile(model_dir + "/config.json");
  parts.push_back(config.ok() ? *std::move(config) : "");
  return HashText(fmt::format("{}", fmt::join(parts, "\n")));
}

// Its version, and a hash of the program: kernels change without a new version.
std::string BuildName() {
  const Result<std::string> program = ReadTextFile("/proc/self/exe");
  return fmt::format("{}-{}", kPenstockVersion, program.ok() ? HashText(*program) : "unknown");
}

// "AMD EPYC, 2 cores".
std::string DeviceName() {
  const size_t num_cores = UsableCores().size();
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("model name") || line.find(':') == std::string::npos) continue;
    const size_t begin = line.find_first_not_of(" \t", line.find(':') + 1);
    if (begin != std::string::npos) return fmt::format("{}, {} cores", line.substr(begin), num_cores);
  }
  return fmt::format("CPU, {} cores", num_cores);
}

Result<std::string> ReadSmallFile(const std::string& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return InvalidArgument("it is not a file");
  const uint64_t size = fs::file_size(path, error);
  if (error || size > kMostBytes) {
    return InvalidArgument("it has {} bytes, expected at most {}", size, kMostBytes);
  }
  return ReadTextFile(path);
}

Status WriteFile(const std::string& path, const std::string& text) {
  std::error_code error;
  const fs::path target(path);
  if (target.has_parent_path()) fs::create_directories(target.parent_path(), error);
  // Beside the target, so that the rename replaces it in one go.
  const std::string temporary = fmt::format("{}.{}.tmp", path, getpid());
  std::ofstream file(temporary, std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    fs::remove(temporary, error);
    return Internal("the cost model cannot be written to {}", path);
  }
  fs::rename(temporary, target, error);
  if (!error) return OkStatus();
  const std::string reason = error.message();
  fs::remove(temporary, error);
  return Internal("the cost model cannot be written to {}: {}", path, reason);
}

}  // namespace

CostModelKey MakeCostModelKey(const RunConfig& run, const EnginePlan& plan) {
  CostModelKey key;
  key.model = plan.model.architecture;
  key.config_hash = HashModel(run.model_dir);
  key.dtype = DTypeName(plan.options.dtype);
  if (plan.options.KvDType() != plan.options.dtype)
    key.dtype += fmt::format("+{} kv", DTypeName(plan.options.KvDType()));
  if (plan.model.quantise_weights) {
    key.quantization = "w8a8-dynamic";
  } else if (plan.model.weight_types != nullptr) {
    key.quantization = plan.model.weight_types->method();
  } else if (plan.model.fp8_block_rows > 0) {
    key.quantization = "fp8";
  }
  key.pipeline_parallel_size = plan.layout.pp;
  key.tensor_parallel_size = plan.layout.tp;
  key.context_parallel_size = plan.layout.pcp;
  key.data_parallel_size = plan.layout.dp;
  key.expert_parallel_size = plan.ranges.front().share.ep_size;
  for (int32_t stage = 0; stage < plan.layout.pp; ++stage) {
    const LayerRange& range = plan.ranges[plan.Leader(static_cast<size_t>(stage))];
    key.layer_partition.push_back(range.last_layer - range.first_layer);
  }
  key.threads_per_rank = static_cast<int32_t>(plan.cores.front().size());
  key.device = DeviceName();
  key.isa = plan.kernels;
  key.build = BuildName();
  return key;
}

std::string CostModelPath(const RunConfig& run, const CostModelKey& key) {
  if (!run.cost_model_file.empty()) return run.cost_model_file;
  if (run.cache_dir.empty()) return "";
  const std::string name =
      fmt::format("{}\n{}\n{}\n{}\n{} {} {} {} {}\n{}\n{}\n{}\n{}", key.model, key.config_hash, key.dtype,
                  key.quantization, key.pipeline_parallel_size, key.tensor_parallel_size,
                  key.context_parallel_size, key.data_parallel_size, key.expert_parallel_size,
                  fmt::join(key.layer_partition, ","), key.threads_per_rank, key.device, key.isa);
  return fmt::format("{}/cost-{}.json", run.cache_dir, HashText(name));
}

LoadedCostModel LoadCostModel(const std::string& path, const CostModelKey& key) {
  std::error_code error;
  if (path.empty() || !fs::exists(path, error)) return {};
  Result<SavedCostModel> saved = [&]() -> Result<SavedCostModel> {
    ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path));
    return CostModelFromText(text, key);
  }();
  if (saved.ok()) return {.saved = *std::move(saved), .why_not = ""};
  return {.saved = std::nullopt,
          .why_not = fmt::format("The saved cost model {} is not used: {}", path, saved.status().message())};
}

Status SaveCostModel(const std::string& path, const CostModelKey& key, const SavedCostModel& saved) {
  return WriteFile(path, CostModelToText(saved.model, key, saved.quality));
}

}  // namespace penstock
