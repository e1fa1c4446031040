// For tests: an engine that answers by a script, a tokenizer of one token for each byte, and a chat template.
//
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/engine.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace penstock {

class ByteTokenizer : public Tokenizer {
 public:
  static constexpr int32_t kVocabSize = 258;  // bytes, and two special ones
  static constexpr int32_t kBos = 256;

  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens && adds_bos) ids.push_back(kBos);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  Result<std::string> Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 0 || id >= kVocabSize) return InvalidArgument("token id {}: outside the vocabulary", id);
      if (id < 256)
        text += static_cast<char>(id);
      else if (!skip_special_tokens)
        text += IdToToken(id);
    }
    return text;
  }
  int32_t vocab_size() const override { return kVocabSize; }
  std::string IdToToken(int32_t id) const override {
    if (id == kBos) return "<bos>";
    if (id == kBos + 1) return "<eos>";
    return std::string(1, static_cast<char>(id));
  }
  std::optional<int32_t> TokenToId(std::string_view token) const override {
    return token.size() == 1 ? std::optional<int32_t>(static_cast<unsigned char>(token[0])) : std::nullopt;
  }
  bool IsSpecial(int32_t id) const override { return id >= 256; }
  std::optional<std::string_view> TokenBytes(int32_t) const override { return std::nullopt; }
  const std::optional<std::string>& bos_token() const override { return bos_; }
  const std::optional<std::string>& eos_token() const override { return eos_; }
  int32_t max_token_bytes() const override { return 1; }

  bool adds_bos = false;

 private:
  const std::optional<std::string> bos_ = "<bos>";
  const std::optional<std::string> eos_ = "<eos>";
};

// "user:hi;" for each message, "tools:N;" where there are some, kwargs as they are, "assistant:" at the end.
class PlainChatTemplate : public ChatTemplate {
 public:
  Result<std::string> Render(const ChatTemplateInput& input) const override {
    std::string text;
    if (input.tools) text += fmt::format("tools:{};", input.tools->size());
    if (input.kwargs) text += fmt::format("kwargs:{};", input.kwargs->dump());
    for (const Json& message : input.messages) {
      if (message["role"] == "refused") return InvalidArgument("the template refuses this role");
      const Json& content = message["content"];
      text += message["role"].get<std::string>() + ":" +
              (content.is_string() ? content.get<std::string>() : "-") + ";";
    }
    if (input.add_generation_prompt) text += "assistant:";
    return text;
  }
};

class FakeEngine : public Engine {
 public:
  struct Script {
    std::string text = "Hello world";  // one token for each byte
    FinishReason finish = FinishReason::kStop;
    std::variant<std::monostate, std::string, TokenId> stop_reason = {};
    Status error = {};
    bool hang = false;       // says nothing until aborted
    int64_t token_us = 0;    // time for each token
    size_t error_after = 0;  // with finish kError: tokens before it
  };

  FakeEngine() : thread_([this] { Loop(); }) {
    limits_.max_model_len = 2048;
    limits_.vocab_size = ByteTokenizer::kVocabSize;
    limits_.max_num_seqs = 8;
  }
  ~FakeEngine() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
  }

  // Before the server starts.
  EngineLimits& mutable_limits() { return limits_; }
  void SetScript(std::function<Script(const Request&)> script) {
    std::lock_guard lock(mutex_);
    script_ = std::move(script);
  }
  void SetScript(Script script) {
    SetScript([script](const Request&) { return script; });
  }
  void SetSubmitStatus(Status status) {
    std::lock_guard lock(mutex_);
    submit_status_ = std::move(status);
  }
  void SetHealth(Status status) {
    std::lock_guard lock(mutex_);
    health_ = std::move(status);
  }

  std::vector<Request> submitted() const {
    std::lock_guard lock(mutex_);
    return submitted_;
  }
  int num_live() const {
    std::lock_guard lock(mutex_);
    return static_cast<int>(live_.size());
  }
  int num_aborted() const {
    std::lock_guard lock(mutex_);
    return num_aborted_;
  }
  int num_cache_resets() const {
    std::lock_guard lock(mutex_);
    return num_cache_resets_;
  }

  const EngineLimits& limits() const override { return limits_; }
  Status Submit(Request request, OutputSink sink) override {
    std::lock_guard lock(mutex_);
    if (!submit_status_.ok()) return submit_status_;
    submitted_.push_back(request);
    Script script = script_ ? script_(request) : Script{};
    live_.push_back({std::move(request), std::move(sink), std::move(script)});
    wake_.notify_all();
    return OkStatus();
  }
  void Abort(const std::string& request_id) override {
    std::lock_guard lock(mutex_);
    for (Live& live : live_) {
      if (live.request.request_id == request_id) live.aborted = true;
    }
    wake_.notify_all();
  }
  EngineStats Stats() const override {
    std::lock_guard lock(mutex_);
    EngineStats stats = stats_;
    stats.num_running = static_cast<int32_t>(live_.size());
    stats.num_blocks = 64;
    stats.block_size = 16;
    stats.prompt_tokens = 1000;
    stats.waiting_prompt_tokens = 4000;
    stats.finished["stop"] = 3;
    stats.stage_busy_seconds = {1.5, 2.5};
    Histogram prefill({1, 10});
    prefill.Observe(2.0);
    stats.histograms["request_prefill_time_seconds"] = prefill;
    stats.histograms["time_to_first_token_seconds"] = prefill;
    stats.own_histograms["prefill_chunk_tokens"] = prefill;
    return stats;
  }
  std::vector<EngineStats> ReplicaStats() const override {
    std::vector<EngineStats> all = {Stats()};
    std::lock_guard lock(mutex_);
    all.insert(all.end(), more_replicas_.begin(), more_replicas_.end());
    return all;
  }
  Status Health() const override {
    std::lock_guard lock(mutex_);
    return health_;
  }
  void ResetPrefixCache() override {
    std::lock_guard lock(mutex_);
    ++num_cache_resets_;
  }
  // What Stats() begins with.
  void SetStats(EngineStats stats) {
    std::lock_guard lock(mutex_);
    stats_ = std::move(stats);
  }
  // Beside the one that Stats() is of.
  void SetMoreReplicas(std::vector<EngineStats> stats) {
    std::lock_guard lock(mutex_);
    more_replicas_ = std::move(stats);
  }
  void StartTrace() override {
    std::lock_guard lock(mutex_);
    tracing_ = true;
  }
  std::string StopTrace() override {
    std::lock_guard lock(mutex_);
    return std::exchange(tracing_, false) ? R"({"traceEvents":[]})" : "";
  }
  void Drain(int64_t) override {}

 private:
  struct Live {
    Request request;
    OutputSink sink;
    Script script;
    bool aborted = false;
    size_t emitted = 0;
    int32_t num_done = 3;  // of the prompt: what is cached
    int64_t next_us = 0;
  };

  void Loop() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      bool any = false;
      for (size_t i = 0; i < live_.size() && !stop_;) {
        std::optional<RequestOutput> output = Next(&live_[i]);
        any |= output.has_value();
        if (!output) {
          ++i;
          continue;
        }
        const OutputSink sink = live_[i].sink;
        if (output->finish_reason != FinishReason::kNone)
          live_.erase(live_.begin() + static_cast<ptrdiff_t>(i));
        else
          ++i;
        lock.unlock();  // the sink may wake threads that call us
        sink(*std::move(output));
        lock.lock();
      }
      if (!any) wake_.wait_for(lock, std::chrono::microseconds(live_.empty() ? 100'000 : 200));
    }
  }

  PositionLogprobs MakeLogprobs(TokenId id, int32_t num_top) const {
    PositionLogprobs position;
    position.chosen = {id, -0.5f, 1};
    for (int32_t i = 0; i < num_top; ++i)
      position.top.push_back({(id + i) % 256, -0.5f - static_cast<float>(i), i + 1});
    return position;
  }

  std::optional<RequestOutput> Next(Live* live) {
    const SamplingParams& sampling = live->request.sampling;
    RequestOutput output;
    output.num_prompt_tokens = static_cast<int32_t>(live->request.prompt_ids.size());
    output.num_cached_tokens = 3;
    output.times = {.arrival_us = 1000,
                    .first_scheduled_us = 3000,
                    .first_token_us = 10'000,
                    .last_token_us = 12'000,
                    .finish_us = 12'000};
    if (live->aborted) {
      ++num_aborted_;
      output.finish_reason = FinishReason::kAbort;
      return output;
    }
    if (live->script.hang || NowUs() < live->next_us) return std::nullopt;
    live->next_us = NowUs() + live->script.token_us;
    if (live->script.finish == FinishReason::kError && live->emitted == live->script.error_after) {
      output.finish_reason = FinishReason::kError;
      output.error = live->script.error;
      return output;
    }
    if (live->request.report_progress && live->emitted == 0 && live->num_done < output.num_prompt_tokens) {
      output.progress = {{.num_tokens = output.num_prompt_tokens,
                          .num_cached = output.num_cached_tokens,
                          .num_done = live->num_done,
                          .elapsed_us = 1000 * (live->num_done - 3)}};
      live->num_done = std::min(live->num_done + 8, output.num_prompt_tokens);
      if (live->num_done < output.num_prompt_tokens) return output;
      output.progress.push_back(output.progress.back());
      output.progress.back().num_done = output.num_prompt_tokens;
    }
    if (live->emitted == 0 && sampling.prompt_logprobs) {
      for (size_t i = 1; i < live->request.prompt_ids.size(); ++i) {
        output.prompt_logprobs.push_back(
            MakeLogprobs(live->request.prompt_ids[i], *sampling.prompt_logprobs));
      }
    }
    const auto id = static_cast<TokenId>(static_cast<unsigned char>(live->script.text[live->emitted]));
    output.text = std::string(1, static_cast<char>(id));
    output.token_ids = {id};
    if (sampling.logprobs) output.logprobs = {MakeLogprobs(id, *sampling.logprobs)};
    ++live->emitted;
    output.num_output_tokens = static_cast<int32_t>(live->emitted);
    if (live->emitted == static_cast<size_t>(sampling.max_tokens)) {
      output.finish_reason = FinishReason::kLength;
    } else if (live->emitted == live->script.text.size()) {
      output.finish_reason = live->script.finish;
      output.stop_reason = live->script.stop_reason;
    }
    if (output.finish_reason != FinishReason::kNone) output.chunk_lens = {10, 5};
    return output;
  }

  EngineLimits limits_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::function<Script(const Request&)> script_;
  Status submit_status_, health_;
  std::vector<Request> submitted_;
  std::vector<Live> live_;
  int num_aborted_ = 0;
  int num_cache_resets_ = 0;
  EngineStats stats_;
  std::vector<EngineStats> more_replicas_;
  bool tracing_ = false;
  std::thread thread_;
};

// Waits until `condition` holds, for at most ten seconds; whether it does.
inline bool Eventually(const std::function<bool()>& condition) {
  const int64_t end_us = NowUs() + 10'000'000;
  while (!condition()) {
    if (NowUs() > end_us) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace penstock
