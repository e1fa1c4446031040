// DeepSeek's description has a hundred thousand lines: it is read as a stream of events.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/ascend_description.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "weights/json_events.h"

namespace penstock {
namespace {

constexpr WeightType kKnownTypes[] = {WeightType::kFloat, WeightType::kW8A8, WeightType::kW8A8Dynamic,
                                      WeightType::kW8A8Mix};
constexpr std::string_view kWeightSuffix = ".weight";
// Of these, anything but weights is meant.
constexpr std::string_view kCacheKeys[] = {"kv_quant_type", "kv_cache_type", "fa_quant_type"};

class AscendDescription : public WeightTypes {
 public:
  void Add(const std::string& key, const std::string& value) {
    if (key.ends_with(kWeightSuffix)) {
      types_.emplace(key, value);
    } else if (std::ranges::find(kCacheKeys, key) != std::end(kCacheKeys)) {
      unused_ += fmt::format("; {} = {} has no effect", key, value);
    }
  }

  std::string_view method() const override { return "ascend"; }

  std::string Summary() const override {
    std::map<std::string, size_t> counts;
    for (const auto& [name, type] : types_) ++counts[type];
    std::string text;
    for (const auto& [type, count] : counts) {
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, type);
      if (type == WeightTypeName(WeightType::kW8A8Mix)) text += " (computed as W8A8_DYNAMIC)";
    }
    return fmt::format("weights of {}: {}{}", kAscendDescriptionFile, text, unused_);
  }

  Result<WeightType> TypeOf(const std::string& name, bool /*is_projection*/) const override {
    const auto found = types_.find(name);
    if (found == types_.end()) return WeightType::kFloat;
    for (const WeightType type : kKnownTypes) {
      if (WeightTypeName(type) == found->second) return type;
    }
    return Unimplemented("{}: tensor {}: type {}, expected FLOAT, W8A8, W8A8_DYNAMIC or W8A8_MIX",
                         kAscendDescriptionFile, name, found->second);
  }

 private:
  std::unordered_map<std::string, std::string> types_;
  std::string unused_;
};

// The strings of the outermost object; what else there is, is skipped.
class DescriptionEvents : public JsonEvents {
 public:
  explicit DescriptionEvents(AscendDescription& to) : to_(to) {}

  Status Open(bool is_object) override {
    if (depth_ == 1) RETURN_IF_ERROR(CheckNotWeight());
    if (++depth_ == 1 && !is_object) return InvalidArgument("not a JSON object");
    return OkStatus();
  }
  Status Close() override {
    --depth_;
    return OkStatus();
  }
  Status Key(const std::string& key) override {
    if (depth_ == 1) key_ = key;
    return OkStatus();
  }
  Status Scalar(const JsonScalar& value) override {
    if (depth_ == 0) return InvalidArgument("not a JSON object");
    if (depth_ > 1) return OkStatus();
    if (value.text == nullptr) return CheckNotWeight();
    to_.Add(key_, *value.text);
    return OkStatus();
  }

 private:
  Status CheckNotWeight() const {
    if (!key_.ends_with(kWeightSuffix)) return OkStatus();
    return InvalidArgument("the type of {} is not a string", key_);
  }

  AscendDescription& to_;
  int depth_ = 0;
  std::string key_;
};

// Says which JSON files there are instead, as vLLM-Ascend does.
Status DescriptionNotFound(const std::string& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir, error)) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().filename().string());
  }
  std::ranges::sort(names);
  return NotFound(
      "ModelSlim Quantization Config Not Found: {} says how Ascend W8A8 weights are quantized, and is not in "
      "{} "
      "(its JSON files: {}); leave out --quantization ascend for a model that is not quantized",
      kAscendDescriptionFile, dir, names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

}  // namespace

bool HasAscendDescription(const std::string& dir) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::path(dir) / kAscendDescriptionFile, error);
}

Result<std::shared_ptr<const WeightTypes>> ReadAscendDescription(const std::string& dir) {
  if (!HasAscendDescription(dir)) return DescriptionNotFound(dir);
  const std::string path = (std::filesystem::path(dir) / kAscendDescriptionFile).string();
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  auto description = std::make_shared<AscendDescription>();
  DescriptionEvents events(*description);
  if (const Status status = ParseJsonEvents(text, events); !status.ok()) return status.WithContext(path);
  return std::shared_ptr<const WeightTypes>(std::move(description));
}

}  // namespace penstock
