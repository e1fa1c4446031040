// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_help.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

namespace penstock {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kHelpColumn = 10;

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return lower;
}

// `text` in lines of at most kWidth characters, each behind `indent` spaces.
std::string Wrap(std::string_view text, size_t indent) {
  std::string out;
  while (!text.empty()) {
    const size_t room = kWidth - indent;
    size_t length = text.size();
    if (length > room) {
      const size_t space = text.rfind(' ', room);
      length = space == std::string_view::npos || space == 0 ? room : space;
    }
    out += std::string(indent, ' ') + std::string(text.substr(0, length)) + "\n";
    text.remove_prefix(std::min(text.size(), length + (length < text.size() && text[length] == ' ')));
  }
  return out;
}

std::string_view ValueName(const FlagSpec& spec) {
  switch (spec.kind) {
    case FlagKind::kBool:
      return "";
    case FlagKind::kInt:
      return " N";
    case FlagKind::kSize:
      return " N[k|K|…]";
    case FlagKind::kSizeOrAuto:
      return " N[k|K|…]|auto";
    case FlagKind::kFloat:
      return " X";
    case FlagKind::kString:
      return " TEXT";
    case FlagKind::kOptionalString:
      return " [TEXT]";
    case FlagKind::kList:
      return " WORD…";
    case FlagKind::kJson:
      return " JSON";
  }
  return "";
}

std::string Signature(const FlagSpec& spec) {
  const bool is_on = spec.kind == FlagKind::kBool && spec.default_text == "true";
  std::string text = fmt::format("  --{}{}", is_on ? "[no-]" : "", spec.name);
  if (spec.flag_class == FlagClass::kImplemented && !spec.choices.empty())
    text += " " + std::string(spec.choices);
  else
    text += ValueName(spec);
  if (!spec.aliases.empty()) text += fmt::format("  ({})", spec.aliases);
  return text;
}

std::string FullEntry(const FlagSpec& spec) {
  std::string about(spec.help);
  if (spec.flag_class == FlagClass::kNoOp) about = "No effect: " + about + ".";
  if (spec.flag_class == FlagClass::kUnsupported) about = "Not supported: " + about + ".";
  if (!spec.default_text.empty() && spec.kind != FlagKind::kBool)
    about += fmt::format(" [{}]", spec.default_text);
  return Signature(spec) + "\n" + Wrap(about, kHelpColumn);
}

std::vector<std::string_view> Groups(const FlagTable& table) {
  std::vector<std::string_view> groups;
  for (const auto& specs : table) {
    for (const FlagSpec& spec : specs) {
      if (std::find(groups.begin(), groups.end(), spec.group) == groups.end()) groups.push_back(spec.group);
    }
  }
  return groups;
}

// The flags of `group` for which `keep` is true; empty if none.
template <typename Keep>
std::string GroupHelp(const FlagTable& table, std::string_view group, const Keep& keep) {
  std::vector<const FlagSpec*> found;
  for (const auto& specs : table) {
    for (const FlagSpec& spec : specs) {
      if (spec.group == group && keep(spec)) found.push_back(&spec);
    }
  }
  if (found.empty()) return "";
  std::string out = fmt::format("\n{}:\n", group);
  for (const FlagSpec* spec : found) out += FullEntry(*spec);
  return out;
}

}  // namespace

std::string MainHelp() {
  return fmt::format(R"(penstock {} - serves large language models on CPUs, made for long prompts

Usage: penstock COMMAND …

  serve MODEL           Serve a model over HTTP, with the API and the flags of `vllm serve`.
  complete MODEL        Go on from a text, in this process: --prompt "Once upon a time".
  bench latency MODEL   Measure the latency of one batch of requests, in this process.
  bench kernels         Measure every operation of the kernels beside the peak of this machine.
  bench layouts MODEL   Measure how ranks share the work best.
  calibrate MODEL       Measure how fast each stage is, and keep it for `serve`.
  simulate              Simulate prompts on a pipeline, by a cost model: policies side by side.
  plan                  Print how each policy cuts prompts into chunks, and how long they take.
  quantize MODEL OUT    Make the weights of a model 8-bit integers, and report what that costs.
  version               Print the version.

MODEL is a directory in Hugging Face's format: config.json, *.safetensors, tokenizer.json.
Start with:

  penstock serve models/SmolLM2-135M-Instruct --pipeline-parallel-size 2

`penstock COMMAND --help` explains the flags. Exit codes: 0 done, 1 failed, 2 wrong usage.
)",
                     kPenstockVersion);
}

std::string CommandHelp(std::string_view usage, std::string_view about, const FlagTable& table,
                        std::string_view keyword) {
  std::string out = fmt::format("Usage: {}\n\n{}", usage, Wrap(about, 0));
  if (keyword.empty()) {
    for (std::string_view group : Groups(table)) {
      out += GroupHelp(table, group,
                       [](const FlagSpec& spec) { return spec.flag_class == FlagClass::kImplemented; });
    }
    out += "\nIn [ ]: the default. N[k|K|…]: 128k is 128000, 128K is 131072. JSON also as --x.key value.\n";
    out += "--help=all lists every flag, --help=WORD those with WORD in their name or group.\n";
    return out;
  }
  std::string found;
  const std::string wanted = Lower(keyword);
  for (std::string_view group : Groups(table)) {
    const bool whole_group = wanted == "all" || Lower(group) == wanted;
    found += GroupHelp(table, group, [&](const FlagSpec& spec) {
      return whole_group || spec.name.find(wanted) != std::string_view::npos;
    });
  }
  if (found.empty())
    found = fmt::format("\nNo group or flag has \"{}\" in its name; --help=all lists them.\n", keyword);
  return out + found;
}

}  // namespace penstock
