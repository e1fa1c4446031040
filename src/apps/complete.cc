// `penstock complete`: one prompt through an engine in this process, without a server.
//
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <iterator>

#include "apps/chat_setup.h"
#include "apps/commands.h"
#include "apps/engine_factory.h"
#include "apps/output_queue.h"
#include "apps/rank_report.h"
#include "base/log.h"

namespace penstock {
namespace {

constexpr CommandInfo kInfo = {"penstock complete MODEL --prompt TEXT [flags]",
                               "Goes on from a text, with the model in directory MODEL, in this process. The "
                               "text goes to standard output, times "
                               "to standard error."};
constexpr double kMicrosPerSecond = 1e6;

Result<std::string> ReadPrompt(const ParsedFlags& flags) {
  if (flags.Given("prompt") == flags.Given("prompt-file")) {
    return InvalidArgument("expected one of --prompt and --prompt-file");
  }
  if (flags.Given("prompt-file")) return ReadTextFile(flags.String("prompt-file"));
  const std::string prompt = flags.String("prompt");
  if (prompt != "-") return prompt;
  return std::string(std::istreambuf_iterator<char>(std::cin), {});
}

Result<std::vector<TokenId>> EncodePrompt(const CommandSetup& setup, const std::string& prompt,
                                          const Tokenizer& tokenizer) {
  const ParsedFlags& flags = setup.flags;
  if (!flags.Bool("chat")) return tokenizer.Encode(prompt, /*add_special_tokens=*/true);
  ASSIGN_OR_RETURN(const std::unique_ptr<ChatTemplate> chat_template,
                   MakeChatTemplate(setup.run.tokenizer_dir,
                                    flags.Given("chat-template") ? flags.String("chat-template") : "",
                                    flags.JsonValue("default-chat-template-kwargs"), tokenizer));
  if (!chat_template) {
    return InvalidArgument("--chat: {} has no chat template; give one with --chat-template",
                           setup.run.tokenizer_dir);
  }
  ChatTemplateInput input;
  input.messages = Json::array();
  if (flags.Given("system"))
    input.messages.push_back({{"role", "system"}, {"content", flags.String("system")}});
  input.messages.push_back({{"role", "user"}, {"content", prompt}});
  ASSIGN_OR_RETURN(const std::string text, chat_template->Render(input));
  return tokenizer.Encode(text, /*add_special_tokens=*/false);
}

SamplingParams MakeSampling(const CommandSetup& setup) {
  const ParsedFlags& flags = setup.flags;
  SamplingParams params;
  params.temperature = static_cast<float>(flags.Float("temperature"));
  params.top_p = static_cast<float>(flags.Float("top-p"));
  params.top_k = static_cast<int32_t>(flags.Int("top-k"));
  params.max_tokens = static_cast<int32_t>(flags.Int("max-tokens"));
  params.ignore_eos = flags.Bool("ignore-eos");
  params.seed = setup.run.seed;
  return params;
}

std::string_view FinishName(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    default:
      return "error";
  }
}

struct Completion {
  std::string text;
  RequestOutput last;

  double first_token_s() const { return Seconds(last.times.arrival_us, last.times.first_token_us); }
  double tokens_per_second() const {
    const double seconds = Seconds(last.times.first_token_us, last.times.last_token_us);
    return seconds > 0 ? (last.num_output_tokens - 1) / seconds : 0;
  }

 private:
  static double Seconds(int64_t begin_us, int64_t end_us) {
    return static_cast<double>(end_us - begin_us) / kMicrosPerSecond;
  }
};

// Runs the request to its end; prints text as it comes where wanted.
Result<Completion> Run(Engine& engine, Request request, bool print) {
  OutputQueue outputs;
  RETURN_IF_ERROR(outputs.Submit(engine, std::move(request), 0));
  Completion completion;
  while (true) {
    RequestOutput output = std::move(outputs.Next().output);
    completion.text += output.text;
    if (print) {
      fmt::print("{}", output.text);
      std::fflush(stdout);
    }
    if (output.finish_reason == FinishReason::kNone) continue;
    if (output.finish_reason == FinishReason::kError) return output.error;
    completion.last = std::move(output);
    return completion;
  }
}

void PrintJson(const Completion& completion) {
  const Json json = {{"text", completion.text},
                     {"finish_reason", FinishName(completion.last.finish_reason)},
                     {"prompt_tokens", completion.last.num_prompt_tokens},
                     {"completion_tokens", completion.last.num_output_tokens},
                     {"time_to_first_token", completion.first_token_s()},
                     {"tokens_per_second", completion.tokens_per_second()}};
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

Status Complete(const CommandSetup& setup) {
  ASSIGN_OR_RETURN(const std::string prompt, ReadPrompt(setup.flags));
  ASSIGN_OR_RETURN(EnginePlan plan, PlanEngine(setup.run, setup.job.get()));
  ASSIGN_OR_RETURN(const RunningEngine running, StartEngine(setup.run, std::move(plan)));
  Request request;
  request.request_id = "complete";
  ASSIGN_OR_RETURN(request.prompt_ids, EncodePrompt(setup, prompt, *running.tokenizer));
  if (request.prompt_ids.empty()) return InvalidArgument("the prompt has no tokens, expected at least one");
  request.sampling = MakeSampling(setup);
  const bool as_json = setup.flags.Bool("json");
  const bool stream = setup.flags.Bool("stream") && !as_json;
  ASSIGN_OR_RETURN(const Completion completion, Run(*running.engine, std::move(request), stream));
  if (as_json) {
    PrintJson(completion);
  } else {
    fmt::print("{}\n", stream ? "" : completion.text);
  }
  std::fflush(stdout);
  fmt::print(stderr, "prompt: {} tokens, time to first token {:.1f} ms; output: {} tokens, {:.1f} tokens/s\n",
             completion.last.num_prompt_tokens, completion.first_token_s() * 1000,
             completion.last.num_output_tokens, completion.tokens_per_second());
  return RecordExpertLoad(setup.run, running);
}

}  // namespace

int RunComplete(std::span<const std::string> args) {
  CommandStart start = StartCommand(args, CompleteTable(), kInfo);
  if (!start.setup) return start.exit_code;
  // One prompt would wait for longer than it gains.
  RunConfig& run = start.setup->run;
  if (run.calibration == CalibrationMode::kAuto) run.calibration = CalibrationMode::kOff;
  const Status status = Complete(*start.setup);
  if (status.ok() && start.setup->job != nullptr) start.setup->job->Done();
  return status.ok() ? kExitDone : Fail(status);
}

}  // namespace penstock
