// `penstock quantize`: a float checkpoint to one of 8-bit integers, in Ascend's format.
//
//   calibrate (static inputs) -> quantise and write OUT.partial -> compare with the float model -> OUT
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "apps/calibration_texts.h"
#include "apps/chat_setup.h"
#include "apps/commands.h"
#include "apps/output_dir.h"
#include "apps/progress.h"
#include "apps/quantise_report.h"
#include "base/affinity.h"
#include "base/thread_team.h"
#include "pipeline/local_ranks.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {
    "penstock quantize MODEL OUT --scheme w8a8|w8a8-dynamic [--calibration-data FILE] [flags]",
    "Makes the weights of the model in directory MODEL 8-bit integers and writes them, with all else that "
    "belongs "
    "to the model, to the new directory OUT, in the format of msModelSlim: `penstock serve OUT` and "
    "vLLM-Ascend's "
    "--quantization ascend read it. Reports how far each layer and the logits are from the float model's."};

// What the command line says.
struct QuantiseSetup {
  std::string model_dir;
  std::string out_dir;
  std::string scheme;
  QuantiseOptions options;
  ModelConfig config;
};

Result<QuantiseSetup> ReadSetup(const ParsedFlags& flags) {
  QuantiseSetup setup;
  const std::vector<std::string>& words = flags.positionals();
  if (words.size() != 2) {
    return InvalidArgument("got {} words, expected two directories: MODEL OUT", words.size());
  }
  setup.model_dir = words[0];
  setup.out_dir = words[1];
  if (!flags.Given("scheme")) return InvalidArgument("--scheme: expected w8a8 or w8a8-dynamic");
  setup.scheme = flags.String("scheme");
  setup.options.scheme = setup.scheme == "w8a8" ? QuantScheme::kW8A8 : QuantScheme::kW8A8Dynamic;
  setup.options.smooth = flags.Bool("smooth");
  setup.options.max_file_bytes = static_cast<uint64_t>(flags.Int("max-file-size"));
  if (setup.options.scheme == QuantScheme::kW8A8 && !flags.Given("calibration-data")) {
    return InvalidArgument(
        "--scheme w8a8: expected --calibration-data, by which static inputs get their scales");
  }
  ASSIGN_OR_RETURN(setup.config, ReadModelConfig(setup.model_dir));
  RETURN_IF_ERROR(CheckQuantisable(setup.model_dir, setup.config));
  return setup;
}

Result<TokenTexts> ReadTexts(const ParsedFlags& flags, const QuantiseSetup& setup) {
  if (!flags.Given("calibration-data")) return TokenTexts();
  const std::string path = flags.String("calibration-data");
  ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  ASSIGN_OR_RETURN(const std::vector<CalibrationEntry> entries, ParseCalibrationFile(text, path));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::Load(setup.model_dir));
  ASSIGN_OR_RETURN(const std::unique_ptr<ChatTemplate> chat_template,
                   MakeChatTemplate(setup.model_dir, "", Json(), *tokenizer));
  const int64_t longest =
      std::min<int64_t>(flags.Int("calibration-len"), setup.config.max_position_embeddings);
  return TokeniseCalibration(entries, *tokenizer, chat_template.get(),
                             {.max_tokens = flags.Int("calibration-tokens"),
                              .max_len = static_cast<int32_t>(longest),
                              .vocab_size = setup.config.vocab_size});
}

LayerProgress Show(Progress& progress) {
  return [&progress](int32_t done, int32_t total) { progress.Update(done, total); };
}

Result<QuantiseReport> Write(const QuantiseSetup& setup, const std::string& out_dir, const TokenTexts& texts,
                             Kernels& kernels) {
  ObservedInputs inputs;
  if (!texts.empty() && (setup.options.scheme == QuantScheme::kW8A8 || setup.options.smooth)) {
    Progress progress("Calibrating", ProgressUnit::kLayers);
    const WalkSetup walk{setup.model_dir, setup.config, ComputeType(setup.config), texts};
    ASSIGN_OR_RETURN(inputs, ObserveInputs(walk, kernels, Show(progress)));
  }
  Progress progress("Quantizing ");
  return QuantiseModel(setup.model_dir, out_dir, setup.config, setup.options, inputs,
                       [&](size_t done, size_t total) { progress.Update(done, total); });
}

Result<ModelErrors> Compare(const QuantiseSetup& setup, const std::string& out_dir, const TokenTexts& texts,
                            Kernels& kernels) {
  ASSIGN_OR_RETURN(const ModelConfig quantised, ReadModelConfig(out_dir, "ascend"));
  Progress progress("Comparing  ", ProgressUnit::kLayers);
  const DType dtype = ComputeType(setup.config);
  return CompareModels({setup.model_dir, setup.config, dtype, texts}, {out_dir, quantised, dtype, texts},
                       kernels, Show(progress));
}

Status Quantise(const ParsedFlags& flags) {
  const auto begin = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const QuantiseSetup setup, ReadSetup(flags));
  ASSIGN_OR_RETURN(const TokenTexts texts, ReadTexts(flags, setup));
  const std::vector<int> cores = AssignCores(
      UsableCores(), 1, flags.Given("threads") ? static_cast<int32_t>(flags.Int("threads")) : 0)[0];
  ThreadTeam team(static_cast<int>(cores.size()), cores);
  ASSIGN_OR_RETURN(const std::unique_ptr<Kernels> kernels,
                   MakeKernelsByName(flags.String("kernel-isa"), team));
  ASSIGN_OR_RETURN(OutputDir out, OutputDir::Create(setup.out_dir));

  QuantiseSummary summary{.out_dir = setup.out_dir, .scheme = setup.scheme, .written = {}, .errors = {}};
  RETURN_IF_ERROR(CopyModelFiles(setup.model_dir, out.partial_path()));
  ASSIGN_OR_RETURN(summary.written, Write(setup, out.partial_path(), texts, *kernels));
  if (!texts.empty()) {
    ASSIGN_OR_RETURN(summary.errors, Compare(setup, out.partial_path(), texts, *kernels));
  }
  RETURN_IF_ERROR(out.Commit());
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{}", flags.Bool("json") ? QuantiseJson(summary).dump(2) + "\n" : QuantiseText(summary));
  return OkStatus();
}

}  // namespace

int RunQuantize(std::span<const std::string> args) {
  const FlagsStart start = StartWithWords(args, QuantiseTable(), kInfo);
  if (!start.flags) return start.exit_code;
  const Status status = Quantise(*start.flags);
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
