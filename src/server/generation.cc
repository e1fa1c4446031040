// A Job is one HTTP request. Outputs of the engine go into its mailbox, one sum for each choice, and one task
// for the I/O thread is posted when the mailbox was empty: tokens that come faster than they can be sent are
// thereby joined, and a client that does not read costs no more than its own text until it is dropped.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/generation.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>
#include <random>
#include <unordered_map>
#include <utility>

namespace penstock {

struct GenerationService::Core {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* const chat_template;
  WorkerPool& workers;
  const GenerationOptions options;

  std::atomic<int> num_open{0};
  std::atomic<uint64_t> next_engine_id{1};
  std::mutex mutex;
  std::unordered_multimap<std::string, std::weak_ptr<Job>>
      jobs;                                        // by answer id and client's id; GUARDED_BY(mutex)
  std::mt19937_64 random{std::random_device{}()};  // GUARDED_BY(mutex)

  std::string RandomId() {
    std::lock_guard lock(mutex);
    return fmt::format("{:016x}{:016x}", random(), random());
  }
  int RetryAfterSeconds() const { return EstimateRetryAfterSeconds(engine.ReplicaStats()); }
};

class GenerationService::Job : public std::enable_shared_from_this<Job> {
 public:
  Job(std::shared_ptr<Core> core, std::shared_ptr<ResponseWriter> response)
      : core_(std::move(core)), response_(std::move(response)) {}

  void Start(Endpoint endpoint, HttpRequest http);  // I/O thread
  void Cancel();                                    // any thread but the engine's

 private:
  // Worker.
  void Prepare(Endpoint endpoint, const std::string& body);
  std::optional<ApiError> Parse(Endpoint endpoint, const std::string& body, GenerationRequest* request,
                                std::vector<TokenizedPrompt>* prompts);
  void SubmitAll(std::vector<Request> requests);
  std::vector<Request> MakeRequests(const GenerationRequest& request,
                                    const std::vector<TokenizedPrompt>& prompts);

  void Deliver(int choice_idx, RequestOutput output);  // engine's thread

  // I/O thread.
  void OnIdle();
  void Drain();
  void Take(int choice_idx, RequestOutput output, std::string* events);
  void StartStream();
  void Fail(const ApiError& error);
  void Register(const std::string& id);
  void Unregister();

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<ResponseWriter> response_;
  std::string client_id_;  // of the body or of X-Request-Id, or random
  std::atomic<bool> cancelled_{false};
  bool over_ = false;                    // I/O thread: answered, refused, or the client has gone
  std::vector<std::string> registered_;  // set before the engine knows the job, then I/O thread
  std::unique_ptr<Answer> answer_;       // likewise

  std::mutex mutex_;
  std::vector<std::string> engine_ids_;                // GUARDED_BY(mutex_)
  std::vector<std::optional<RequestOutput>> mailbox_;  // [choices] GUARDED_BY(mutex_)
  bool drain_posted_ = false;                          // GUARDED_BY(mutex_)
};

// ---- I/O thread: begin and end
// -------------------------------------------------------------------------------------

void GenerationService::Job::Start(Endpoint endpoint, HttpRequest http) {
  const std::string* const id = http.FindHeader("x-request-id");
  if (id && core_->options.use_request_id_header && IsPlainRequestId(*id)) client_id_ = *id;
  ++core_->num_open;
  response_->OnDone([core = core_, weak = weak_from_this()](int) {
    --core->num_open;
    if (const auto job = weak.lock()) {
      job->over_ = true;
      job->Unregister();
    }
  });
  response_->OnGone([weak = weak_from_this()] {
    if (const auto job = weak.lock()) job->Cancel();
  });
  const bool queued = core_->workers.Submit(
      [job = shared_from_this(), endpoint, body = std::move(http.body)] { job->Prepare(endpoint, body); });
  if (!queued)
    Fail(
        Overloaded("The server is busy: too many prompts wait to be tokenised.", core_->RetryAfterSeconds()));
}

void GenerationService::Job::Cancel() {
  cancelled_ = true;
  std::vector<std::string> ids;
  {
    std::lock_guard lock(mutex_);
    ids = engine_ids_;
  }
  for (const std::string& id : ids) core_->engine.Abort(id);
}

void GenerationService::Job::Fail(const ApiError& error) {
  if (over_) return;
  over_ = true;
  if (!response_->started()) {
    response_->Send(ErrorHttpResponse(error));
    return;
  }
  response_->EndStream(fmt::format("data: {}\n\ndata: [DONE]\n\n", ErrorJson(error)));
}

void GenerationService::Job::Register(const std::string& id) {
  std::lock_guard lock(core_->mutex);
  core_->jobs.emplace(id, weak_from_this());
  registered_.push_back(id);
}

void GenerationService::Job::Unregister() {
  std::lock_guard lock(core_->mutex);
  for (const std::string& id : std::exchange(registered_, {})) {
    const auto [begin, end] = core_->jobs.equal_range(id);
    for (auto it = begin; it != end;) {
      const auto job = it->second.lock();
      it = !job || job.get() == this ? core_->jobs.erase(it) : std::next(it);
    }
  }
}

// ---- Worker
// --------------------------------------------------------------------------------------------------------

std::optional<ApiError> GenerationService::Job::Parse(Endpoint endpoint, const std::string& body,
                                                      GenerationRequest* request,
                                                      std::vector<TokenizedPrompt>* prompts) {
  const RequestRules& rules = core_->options.rules;
  auto error = endpoint == Endpoint::kChat ? ParseChatRequest(body, rules, request)
                                           : ParseCompletionRequest(body, rules, request);
  if (error) return error;
  const PromptTools tools{core_->tokenizer, core_->chat_template, rules.engine};
  return TokenizePrompts(tools, request, prompts);
}

void GenerationService::Job::Prepare(Endpoint endpoint, const std::string& body) {
  if (cancelled_) return;
  GenerationRequest request;
  std::vector<TokenizedPrompt> prompts;
  if (auto error = Parse(endpoint, body, &request, &prompts)) {
    response_->Post([job = shared_from_this(), error = std::move(*error)] { job->Fail(error); });
    return;
  }
  std::vector<Request> requests = MakeRequests(request, prompts);
  mailbox_.resize(requests.size());

  if (!request.request_id.empty()) client_id_ = request.request_id;
  if (client_id_.empty()) client_id_ = core_->RandomId();
  const std::string answer_id = (endpoint == Endpoint::kChat ? "chatcmpl-" : "cmpl-") + client_id_;
  const int64_t now_seconds =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  answer_ = Answer::Make(answer_id, now_seconds, std::move(request), std::move(prompts), core_->tokenizer,
                         core_->options.answer);
  // Here the job is handed over: until now the worker's alone, from now on the I/O thread's.
  response_->Post([job = shared_from_this(), answer_id] {
    if (job->over_) return;
    job->Register(answer_id);
    job->Register(job->client_id_);
    const int64_t interval_us = job->core_->options.sse_keep_alive_interval_us;
    if (!job->answer_->request().stream || interval_us <= 0) return;
    job->response_->OnIdle(interval_us, [weak = job->weak_from_this()] {
      if (const auto idle = weak.lock()) idle->OnIdle();
    });
  });
  SubmitAll(std::move(requests));
}

std::vector<Request> GenerationService::Job::MakeRequests(const GenerationRequest& request,
                                                          const std::vector<TokenizedPrompt>& prompts) {
  std::vector<Request> requests;
  for (const TokenizedPrompt& prompt : prompts) {
    const int32_t rest = core_->options.rules.engine.max_model_len - static_cast<int32_t>(prompt.ids.size());
    for (int32_t i = 0; i < request.n; ++i) {
      Request& one = requests.emplace_back();
      one.request_id = fmt::format("{}", core_->next_engine_id++);
      one.prompt_ids = prompt.ids;
      one.sampling = request.sampling;
      if (one.sampling.seed)
        *one.sampling.seed = static_cast<int64_t>(static_cast<uint64_t>(*one.sampling.seed) + i);
      one.sampling.max_tokens = request.max_tokens
                                    ? std::max(*request.max_tokens, 1)
                                    : std::min(rest, core_->options.rules.default_max_tokens.value_or(rest));
      one.sampling.min_tokens = std::min(one.sampling.min_tokens, one.sampling.max_tokens);
      one.priority = request.priority;
      one.cache_salt = request.cache_salt;
      one.report_progress = request.return_progress;
    }
  }
  return requests;
}

void GenerationService::Job::SubmitAll(std::vector<Request> requests) {
  for (size_t i = 0; i < requests.size(); ++i) {
    const std::string id = requests[i].request_id;
    {
      std::lock_guard lock(mutex_);
      engine_ids_.push_back(id);
    }
    const Status status = cancelled_
                              ? Status(StatusCode::kCancelled, "the request was aborted")
                              : core_->engine.Submit(std::move(requests[i]),
                                                     [job = shared_from_this(), i](RequestOutput output) {
                                                       job->Deliver(static_cast<int>(i), std::move(output));
                                                     });
    if (!status.ok()) {
      Cancel();
      response_->Post([job = shared_from_this(),
                       error = ErrorFromStatus(status, core_->RetryAfterSeconds())] { job->Fail(error); });
      return;
    }
    if (cancelled_) core_->engine.Abort(id);  // the client may have gone between the two lines above
  }
}

// ---- Engine's thread
// -----------------------------------------------------------------------------------------------

void GenerationService::Job::Deliver(int choice_idx, RequestOutput output) {
  {
    std::lock_guard lock(mutex_);
    std::optional<RequestOutput>& slot = mailbox_[choice_idx];
    if (slot)
      MergeOutput(std::move(output), &*slot);
    else
      slot = std::move(output);
    if (std::exchange(drain_posted_, true)) return;
  }
  response_->Post([job = shared_from_this()] { job->Drain(); });
}

// ---- I/O thread: outputs
// -------------------------------------------------------------------------------------------

void GenerationService::Job::Drain() {
  if (over_) return;
  if (response_->congested()) {
    // Held strongly: the engine may have finished and forgotten the job. The callback goes when the exchange
    // does.
    response_->OnDrained([job = shared_from_this()] { job->Drain(); });
    return;
  }
  std::vector<std::optional<RequestOutput>> outputs(answer_->num_choices());
  {
    std::lock_guard lock(mutex_);
    outputs.swap(mailbox_);
    drain_posted_ = false;
  }
  std::string events;
  for (size_t i = 0; i < outputs.size() && !over_; ++i) {
    if (outputs[i]) Take(static_cast<int>(i), *std::move(outputs[i]), &events);
  }
  if (over_) return;
  const bool finished = answer_->finished();
  if (answer_->request().stream) {
    if (finished) answer_->AppendEnd(&events);
    if (!events.empty()) StartStream();
    if (finished)
      response_->EndStream(events);
    else
      response_->Write(events);
  } else if (finished) {
    response_->Send(
        {.status = 200, .content_type = "application/json", .headers = {}, .body = answer_->Whole()});
  }
  if (finished) over_ = true;
}

void GenerationService::Job::Take(int choice_idx, RequestOutput output, std::string* events) {
  if (output.finish_reason == FinishReason::kError) {
    const Status status = output.error.ok() ? Internal("the engine failed on this request") : output.error;
    if (!events->empty()) {
      StartStream();
      response_->Write(*events);
    }
    Cancel();  // the other choices
    Fail(ErrorFromStatus(status, core_->RetryAfterSeconds()));
  } else if (answer_->request().stream) {
    answer_->AppendChunk(choice_idx, output, events);
  } else {
    answer_->Add(choice_idx, std::move(output));
  }
}

void GenerationService::Job::StartStream() {
  if (response_->started()) return;
  response_->StartStream({.status = 200,
                          .content_type = "text/event-stream; charset=utf-8",
                          .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
                          .body = {}});
}

// Proxies and clients give up on a silent connection; a comment line is none of the answer.
void GenerationService::Job::OnIdle() {
  if (over_ || response_->congested()) return;
  StartStream();
  response_->Write(": keep-alive\n\n");
}

// ---- GenerationService
// ---------------------------------------------------------------------------------------------

namespace {

int EstimateWaitSeconds(const EngineStats& stats) {
  constexpr int kLeast = 1, kMost = 300;
  const auto clamped = [](double seconds) {
    return static_cast<int>(std::clamp<double>(seconds + 0.5, kLeast, kMost));
  };
  if (stats.prefill_backlog_seconds) return clamped(*stats.prefill_backlog_seconds);
  if (stats.prefill_us_per_token > 0) {
    return clamped(static_cast<double>(stats.waiting_prompt_tokens) * stats.prefill_us_per_token * 1e-6);
  }
  const auto prefill = stats.histograms.find("request_prefill_time_seconds");
  if (stats.prompt_tokens == 0 || prefill == stats.histograms.end() || prefill->second.sum <= 0)
    return kLeast;
  const double tokens_per_second = static_cast<double>(stats.prompt_tokens) / prefill->second.sum;
  return clamped(static_cast<double>(stats.waiting_prompt_tokens) / tokens_per_second);
}

}  // namespace

int EstimateRetryAfterSeconds(std::span<const EngineStats> replicas) {
  int least = std::numeric_limits<int>::max();
  for (const EngineStats& stats : replicas) least = std::min(least, EstimateWaitSeconds(stats));
  return least;
}

GenerationService::GenerationService(Engine& engine, const Tokenizer& tokenizer,
                                     const ChatTemplate* chat_template, WorkerPool& workers,
                                     GenerationOptions options)
    : core_(std::make_shared<Core>(engine, tokenizer, chat_template, workers, std::move(options))) {}

GenerationService::~GenerationService() = default;

void GenerationService::Handle(Endpoint endpoint, HttpRequest request,
                               std::shared_ptr<ResponseWriter> response) {
  std::make_shared<Job>(core_, std::move(response))->Start(endpoint, std::move(request));
}

void GenerationService::Abort(std::span<const std::string> ids) {
  std::vector<std::shared_ptr<Job>> jobs;
  {
    std::lock_guard lock(core_->mutex);
    for (const std::string& id : ids) {
      const auto [begin, end] = core_->jobs.equal_range(id);
      for (auto it = begin; it != end; ++it) {
        if (auto job = it->second.lock()) jobs.push_back(std::move(job));
      }
    }
  }
  for (const auto& job : jobs) job->Cancel();
}

int GenerationService::num_open() const { return core_->num_open; }

}  // namespace penstock
