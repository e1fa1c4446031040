// Every field that changes the numbers is checked against the one value that is computed here; the rest
// (observers, the calibration that was run) is left alone.
//
// SPDX-License-Identifier: Apache-2.0
#include "weights/compressed_tensors.h"

#include <algorithm>
#include <regex>
#include <utility>
#include <vector>

namespace penstock {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
constexpr std::string_view kWeightSuffix = ".weight";
constexpr std::string_view kLinearClass = "Linear";

// A module's name, a pattern for names ("re:…", matched from the name's begin on), or the class of all
// matrices.
class Target {
 public:
  static Result<Target> Parse(const Json& json, std::string_view where) {
    if (!json.is_string()) return InvalidArgument("{}: {} is not a string", where, json.dump());
    Target target;
    target.text_ = json.get<std::string>();
    if (!target.text_.starts_with(kRegexPrefix)) return target;
    try {
      target.pattern_ = std::regex(target.text_.substr(kRegexPrefix.size()));
      target.is_pattern_ = true;
    } catch (const std::regex_error&) {
      return InvalidArgument("{}: \"{}\" is not a pattern that can be read", where, target.text_);
    }
    return target;
  }

  bool Matches(const std::string& module, bool is_projection) const {
    if (!is_pattern_) return text_ == module || (is_projection && text_ == kLinearClass);
    return std::regex_search(module, pattern_, std::regex_constants::match_continuous);
  }

 private:
  std::string text_;
  std::regex pattern_;
  bool is_pattern_ = false;
};

Result<std::vector<Target>> ParseTargets(const Json& parent, const std::string& key, std::string_view where) {
  std::vector<Target> targets;
  const auto found = parent.find(key);
  if (found == parent.end() || found->is_null()) return targets;
  if (!found->is_array()) return InvalidArgument("{}: {} is not a list", where, key);
  for (const Json& json : *found) {
    ASSIGN_OR_RETURN(Target target, Target::Parse(json, fmt::format("{}: {}", where, key)));
    targets.push_back(std::move(target));
  }
  return targets;
}

// kUnimplemented unless the field has this value (absent: is the value that an absent one means).
Status Only(const Json& object, const std::string& where, const std::string& key, const Json& expected,
            const Json& absent = nullptr) {
  const auto found = object.find(key);
  const Json value = found == object.end() || found->is_null() ? absent : *found;
  if (value == expected) return OkStatus();
  return Unimplemented("{}: {} = {}, expected {} (8-bit weights per channel, 8-bit activations per token)",
                       where, key, value.dump(), expected.dump());
}

Status CheckArgs(const Json& group, const std::string& where, const std::string& key, const Json& strategy,
                 bool dynamic) {
  const auto found = group.find(key);
  if (found == group.end() || !found->is_object()) {
    return Unimplemented("{}: {} is {}, expected int8 {}", where, key,
                         found == group.end() ? "absent" : found->dump(),
                         dynamic ? "activations per token" : "weights per channel");
  }
  const std::string here = where + ": " + key;
  RETURN_IF_ERROR(Only(*found, here, "num_bits", 8));
  RETURN_IF_ERROR(Only(*found, here, "type", "int"));
  RETURN_IF_ERROR(Only(*found, here, "symmetric", true));
  RETURN_IF_ERROR(Only(*found, here, "strategy", strategy));
  RETURN_IF_ERROR(Only(*found, here, "dynamic", dynamic, false));
  RETURN_IF_ERROR(Only(*found, here, "group_size", nullptr));
  RETURN_IF_ERROR(Only(*found, here, "block_structure", nullptr));
  return Only(*found, here, "actorder", nullptr);
}

Status CheckNone(const Json& config, const std::string& key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null() || (found->is_object() && found->empty())) return OkStatus();
  return Unimplemented("{} = {} is not supported", key, found->dump());
}

class CompressedTensors : public WeightTypes {
 public:
  CompressedTensors(std::vector<Target> targets, std::vector<Target> ignored)
      : targets_(std::move(targets)), ignored_(std::move(ignored)) {}

  std::string_view method() const override { return "compressed-tensors"; }

  std::string Summary() const override {
    return "int8 weights with one scale per channel, activations with one scale per token";
  }

  Result<WeightType> TypeOf(const std::string& name, bool is_projection) const override {
    if (!name.ends_with(kWeightSuffix)) return WeightType::kFloat;
    const std::string module = name.substr(0, name.size() - kWeightSuffix.size());
    const auto matches = [&](const Target& target) { return target.Matches(module, is_projection); };
    if (std::ranges::any_of(ignored_, matches)) return WeightType::kFloat;
    return std::ranges::any_of(targets_, matches) ? WeightType::kW8A8Dynamic : WeightType::kFloat;
  }

 private:
  const std::vector<Target> targets_;
  const std::vector<Target> ignored_;
};

}  // namespace

Result<std::shared_ptr<const WeightTypes>> ParseCompressedTensors(const Json& config) {
  RETURN_IF_ERROR(Only(config, "compressed-tensors", "format", "int-quantized"));
  for (const char* key : {"kv_cache_scheme", "sparsity_config", "transform_config"}) {
    RETURN_IF_ERROR(CheckNone(config, key));
  }
  const auto groups = config.find("config_groups");
  if (groups == config.end() || !groups->is_object() || groups->empty()) {
    return InvalidArgument("config_groups is not an object with a group");
  }
  std::vector<Target> targets;
  for (const auto& [name, group] : groups->items()) {
    const std::string where = "config_groups: " + name;
    if (!group.is_object()) return InvalidArgument("{} is not an object", where);
    RETURN_IF_ERROR(Only(group, where, "format", "int-quantized", "int-quantized"));
    RETURN_IF_ERROR(CheckArgs(group, where, "weights", "channel", /*dynamic=*/false));
    RETURN_IF_ERROR(CheckArgs(group, where, "input_activations", "token", /*dynamic=*/true));
    RETURN_IF_ERROR(CheckNone(group, "output_activations"));
    ASSIGN_OR_RETURN(std::vector<Target> own, ParseTargets(group, "targets", where));
    if (own.empty()) return InvalidArgument("{}: targets is empty", where);
    targets.insert(targets.end(), own.begin(), own.end());
  }
  ASSIGN_OR_RETURN(std::vector<Target> ignored, ParseTargets(config, "ignore", "compressed-tensors"));
  return std::shared_ptr<const WeightTypes>(
      std::make_shared<CompressedTensors>(std::move(targets), std::move(ignored)));
}

}  // namespace penstock
