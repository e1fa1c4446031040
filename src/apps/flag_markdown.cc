// SPDX-License-Identifier: Apache-2.0
#include "apps/flag_markdown.h"

#include <fmt/format.h>

#include <span>
#include <string_view>

#include "apps/flag_spec.h"

namespace penstock {
namespace {

// '|' would end a cell.
std::string Cell(std::string_view text) {
  std::string cell;
  for (char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

std::string_view KindName(FlagKind kind) {
  switch (kind) {
    case FlagKind::kBool:
      return "switch";
    case FlagKind::kInt:
      return "integer";
    case FlagKind::kSize:
      return "size";
    case FlagKind::kSizeOrAuto:
      return "size or auto";
    case FlagKind::kFloat:
      return "number";
    case FlagKind::kString:
      return "text";
    case FlagKind::kOptionalString:
      return "text, may be left out";
    case FlagKind::kList:
      return "words";
    case FlagKind::kJson:
      return "JSON";
  }
  return "";
}

std::string Name(const FlagSpec& spec) {
  std::string name = fmt::format("`--{}`", spec.name);
  if (!spec.aliases.empty()) name += fmt::format(" `{}`", spec.aliases);
  return name;
}

std::string WorkingTable(std::span<const FlagSpec> specs) {
  std::string text = "| flag | value | default | meaning |\n|---|---|---|---|\n";
  for (const FlagSpec& spec : specs) {
    const std::string value(spec.choices.empty() ? KindName(spec.kind) : spec.choices);
    const std::string def = spec.default_text.empty() ? "" : fmt::format("`{}`", spec.default_text);
    text += fmt::format("| {} | {} | {} | {} |\n", Name(spec), Cell(value), Cell(def), Cell(spec.help));
  }
  return text + "\n";
}

std::string ReasonTable(std::span<const FlagSpec> specs, std::string_view reason) {
  std::string text = fmt::format("| flag | value | {} |\n|---|---|---|\n", reason);
  for (const FlagSpec& spec : specs) {
    text += fmt::format("| {} | {} | {} |\n", Name(spec), KindName(spec.kind), Cell(spec.help));
  }
  return text + "\n";
}

}  // namespace

std::string FlagsMarkdown() {
  std::string text = "## Flags that work\n\n### Of every command that runs a model\n\n";
  text += WorkingTable(ImplementedFlags());
  text += "### Of `penstock serve`\n\n" + WorkingTable(ServerFlags());
  text += "### Of `penstock complete`\n\n" + WorkingTable(CompleteFlags());
  text += "### Of `penstock bench latency`\n\n" + WorkingTable(BenchLatencyFlags());
  text += "### Of `penstock bench kernels`\n\n" + WorkingTable(BenchKernelsFlags());
  text += "### Of `penstock bench layouts`\n\n" + WorkingTable(BenchLayoutsFlags());
  text += "### Of `penstock calibrate`\n\n" + WorkingTable(CalibrateFlags());
  text += "### Of `penstock simulate` and `penstock plan`\n\n" + WorkingTable(SimulationFlags());
  text += "### Of `penstock simulate`\n\n" + WorkingTable(SimulateFlags());
  text += "### Of `penstock simulate --layouts`\n\n" + WorkingTable(LayoutFlags());
  text += "### Of `penstock plan`\n\n" + WorkingTable(PlanFlags());
  text += "### Of `penstock quantize`\n\n" + WorkingTable(QuantiseFlags());
  text +=
      "## Flags without effect\n\nAccepted, with a line in the log, because leaving them out changes "
      "nothing.\n\n";
  text += ReasonTable(NoOpFlags(), "why it has no effect");
  text +=
      "## Flags that are refused\n\nKnown, and not here: the start fails and says so, unless the value is "
      "the one "
      "that asks for nothing (vLLM's default).\n\n";
  text += "### Model\n\n" + ReasonTable(UnsupportedModelFlags(), "why it is refused");
  text += "### Ranks, memory, scheduling\n\n" + ReasonTable(UnsupportedSystemFlags(), "why it is refused");
  text += "### HTTP\n\n" + ReasonTable(UnsupportedFrontendFlags(), "why it is refused");
  text.pop_back();  // one newline at the end
  return text;
}

}  // namespace penstock
