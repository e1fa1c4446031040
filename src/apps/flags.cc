// SPDX-License-Identifier: Apache-2.0
#include "apps/flags.h"

#include <algorithm>
#include <map>

#include "apps/flag_value.h"

namespace penstock {

const FlagSpec* FindFlag(const FlagTable& table, std::string_view name) {
  for (const auto& specs : table) {
    for (const FlagSpec& spec : specs) {
      if (spec.name == name) return &spec;
    }
  }
  return nullptr;
}

bool ParsedFlags::Given(std::string_view name) const { return Find(name) != nullptr; }

bool ParsedFlags::FromFile(std::string_view name) const {
  const GivenFlag* flag = Find(name);
  return flag != nullptr && flag->from_file;
}

const GivenFlag* ParsedFlags::Find(std::string_view name) const {
  CHECK(FindFlag(table_, name) != nullptr) << name;
  const auto found = std::find_if(given_.begin(), given_.end(),
                                  [&](const GivenFlag& flag) { return flag.spec->name == name; });
  return found == given_.end() ? nullptr : &*found;
}

bool ParsedFlags::Known(std::string_view name) const { return FindFlag(table_, name) != nullptr; }

bool ParsedFlags::Has(std::string_view name) const { return Given(name) || !Value(name).is_null(); }

Json ParsedFlags::Value(std::string_view name) const {
  const GivenFlag* flag = Find(name);
  return flag != nullptr ? flag->value : FlagDefault(*FindFlag(table_, name));
}

bool ParsedFlags::Bool(std::string_view name) const { return Value(name).get<bool>(); }
int64_t ParsedFlags::Int(std::string_view name) const { return Value(name).get<int64_t>(); }
double ParsedFlags::Float(std::string_view name) const { return Value(name).get<double>(); }
std::string ParsedFlags::String(std::string_view name) const { return Value(name).get<std::string>(); }
std::vector<std::string> ParsedFlags::List(std::string_view name) const {
  const Json value = Value(name);
  return value.is_null() ? std::vector<std::string>() : value.get<std::vector<std::string>>();
}
Json ParsedFlags::JsonValue(std::string_view name) const { return Value(name); }

namespace {

// Whether a value of an unsupported flag asks for nothing.
bool IsHarmless(const FlagSpec& spec, const Json& value) {
  Json harmless = FlagDefault(spec);
  if (harmless.is_null() && spec.kind == FlagKind::kBool) harmless = false;
  if (value == harmless || value.is_null()) return true;
  if ((value.is_structured() && value.empty()) || value == Json("")) return true;
  if (!value.is_string()) return false;
  const std::string choices = "|" + std::string(spec.choices) + "|";
  return choices.find("|" + value.get<std::string>() + "|") != std::string::npos;
}

}  // namespace

Status CheckSupported(const ParsedFlags& flags) {
  for (const GivenFlag& flag : flags.given()) {
    const FlagSpec& spec = *flag.spec;
    if (spec.flag_class != FlagClass::kUnsupported || IsHarmless(spec, flag.value)) continue;
    const std::string value = flag.value.is_string() ? flag.value.get<std::string>() : flag.value.dump();
    return Unimplemented("--{} {}: {}", spec.name, value, spec.help);
  }
  return OkStatus();
}

std::string FlagsText(const ParsedFlags& flags) {
  std::map<std::string_view, std::string> values;
  for (const GivenFlag& flag : flags.given()) {
    values[flag.spec->name] = flag.value.is_string() ? flag.value.get<std::string>() : flag.value.dump();
  }
  std::string text;
  for (const auto& [name, value] : values) text += fmt::format(" --{} {}", name, value);
  return text;
}

std::vector<std::string> NoOpLines(const ParsedFlags& flags) {
  std::vector<std::string> lines;
  for (const GivenFlag& flag : flags.given()) {
    if (flag.spec->flag_class != FlagClass::kNoOp) continue;
    lines.push_back(fmt::format("--{} has no effect: {}", flag.spec->name, flag.spec->help));
  }
  return lines;
}

}  // namespace penstock
