// Wires the parts and holds the endpoints that are a few lines each.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/server.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "server/error_response.h"
#include "server/generation.h"
#include "server/metrics_page.h"
#include "server/openapi.h"
#include "server/tokenize_endpoints.h"

namespace penstock {
namespace {

constexpr size_t kBodyBytesPerToken =
    64;  // ids take up to 8, text rarely 10, JSON escapes up to 6 times that
constexpr size_t kLeastBodyBytes = 16 << 20;
constexpr size_t kMaxAbortIds = 4096;

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

HttpResponse JsonResponse(const Json& json) {
  HttpResponse response;
  response.body = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return response;
}

HttpResponse EmptyResponse() { return {.status = 200, .content_type = "", .headers = {}, .body = {}}; }

RequestRules MakeRules(const ServerOptions& options, const EngineLimits& limits) {
  RequestRules rules;
  rules.engine = limits;
  rules.served_model_names = options.served_model_names;
  rules.default_sampling = options.default_sampling;
  rules.default_max_tokens = options.default_max_tokens;
  rules.allow_priority = options.allow_priority;
  rules.max_stop_strings = options.max_stop_strings;
  return rules;
}

GenerationOptions MakeGenerationOptions(const ServerOptions& options, const EngineLimits& limits) {
  GenerationOptions generation;
  generation.rules = MakeRules(options, limits);
  generation.answer = options.answer;
  generation.sse_keep_alive_interval_us = static_cast<int64_t>(options.sse_keep_alive_interval_seconds * 1e6);
  return generation;
}

}  // namespace

struct Server::Impl {
  Impl(ServerOptions server_options, Engine& the_engine, const Tokenizer& tokenizer,
       const ChatTemplate* chat_template)
      : options(std::move(server_options)),
        engine(the_engine),
        rules(MakeRules(options, engine.limits())),
        tools{tokenizer, chat_template, rules.engine},
        workers(std::make_unique<WorkerPool>(options.num_workers, options.worker_queue)),
        generation(engine, tokenizer, chat_template, *workers,
                   MakeGenerationOptions(options, engine.limits())),
        router(options.router) {}

  void AddRoutes();
  void AddStateRoutes();
  Json ModelCard(const std::string& name) const;
  void AnswerModel(const HttpRequest& request, ResponseWriter& response) const;
  void AnswerHealth(bool ready, ResponseWriter& response) const;
  void AnswerLoad(ResponseWriter& response) const;
  void AnswerMetrics(ResponseWriter& response) const;
  void AnswerStopProfile(std::shared_ptr<ResponseWriter> response);
  void AnswerAbort(const HttpRequest& request, ResponseWriter& response);
  // Runs `answer` on the body in the worker pool.
  using BodyAnswer = HttpResponse (*)(const PromptTools&, const RequestRules&, const std::string&);
  void AnswerInWorker(BodyAnswer answer, HttpRequest request, std::shared_ptr<ResponseWriter> response);

  const ServerOptions options;
  Engine& engine;
  const RequestRules rules;
  const PromptTools tools;
  const int64_t created = UnixSeconds();
  std::unique_ptr<WorkerPool> workers;
  GenerationService generation;
  Router router;
  std::unique_ptr<HttpServer> http;
};

Json Server::Impl::ModelCard(const std::string& name) const {
  Json permission = {
      {"id", fmt::format("modelperm-{}", name)}, {"object", "model_permission"}, {"created", created}};
  for (const auto& [key, value] :
       {std::pair("allow_create_engine", false), std::pair("allow_sampling", true),
        std::pair("allow_logprobs", true), std::pair("allow_search_indices", false),
        std::pair("allow_view", true), std::pair("allow_fine_tuning", false)}) {
    permission[key] = value;
  }
  permission["organization"] = "*";
  permission["group"] = nullptr;
  permission["is_blocking"] = false;
  return {{"id", name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "penstock"},
          {"root", options.model_root.empty() ? name : options.model_root},
          {"parent", nullptr},
          {"max_model_len", rules.engine.max_model_len},
          {"permission", Json::array({permission})}};
}

void Server::Impl::AnswerModel(const HttpRequest& request, ResponseWriter& response) const {
  const auto& names = rules.served_model_names;
  if (std::find(names.begin(), names.end(), request.suffix) != names.end()) {
    response.Send(JsonResponse(ModelCard(request.suffix)));
    return;
  }
  ApiError error = BadRequest("model", "The model `{}` does not exist.", request.suffix);
  error.http_status = 404;
  response.Send(ErrorHttpResponse(error));
}

void Server::Impl::AnswerHealth(bool ready, ResponseWriter& response) const {
  const Status status = engine.Health();
  if (!status.ok()) {
    response.Send(ErrorHttpResponse(Overloaded(status.message(), 1)));
  } else if (ready && router.draining()) {
    response.Send(ErrorHttpResponse(Overloaded("The server is shutting down.", 1)));
  } else {
    response.Send(EmptyResponse());
  }
}

void Server::Impl::AnswerLoad(ResponseWriter& response) const {
  const std::vector<EngineStats> replicas = engine.ReplicaStats();
  int32_t num_running = 0, num_waiting = 0;
  int64_t waiting_prompt_tokens = 0;
  double usage = 0;
  for (const EngineStats& stats : replicas) {
    num_running += stats.num_running;
    num_waiting += stats.num_waiting;
    waiting_prompt_tokens += stats.waiting_prompt_tokens;
    usage += stats.kv_cache_usage;
  }
  response.Send(JsonResponse({{"server_load", generation.num_open()},
                              {"num_requests_running", num_running},
                              {"num_requests_waiting", num_waiting},
                              {"waiting_prompt_tokens", waiting_prompt_tokens},
                              {"kv_cache_usage", usage / static_cast<double>(replicas.size())},
                              {"estimated_wait_seconds", EstimateRetryAfterSeconds(replicas)}}));
}

void Server::Impl::AnswerMetrics(ResponseWriter& response) const {
  HttpResponse page;
  page.content_type = "text/plain; version=0.0.4; charset=utf-8";
  page.body =
      MetricsPage(rules.served_model_names.front(), engine.ReplicaStats(), rules.engine, router.stats(),
                  ReadProcessStats(), NowUs(), options.rank_metrics ? options.rank_metrics() : RankMetrics{});
  response.Send(std::move(page));
}

void Server::Impl::AnswerAbort(const HttpRequest& request, ResponseWriter& response) {
  RequestFields fields(request.body);
  std::optional<std::vector<std::string>> ids;
  if (!fields.error()) ids = fields.Strings("request_ids", kMaxAbortIds);
  if (!ids) fields.Fail(BadRequest("request_ids", "request_ids must be given"));
  if (fields.error()) {
    response.Send(ErrorHttpResponse(*fields.error()));
    return;
  }
  generation.Abort(*ids);
  response.Send(EmptyResponse());
}

// In a worker: a long record makes many megabytes of JSON.
void Server::Impl::AnswerStopProfile(std::shared_ptr<ResponseWriter> response) {
  const bool queued = workers->Submit([this, response] {
    HttpResponse answer;
    answer.body = engine.StopTrace();
    if (answer.body.empty()) {
      answer = ErrorHttpResponse(BadRequest("", "no profile is being recorded: POST /start_profile first"));
    } else if (options.save_trace) {
      options.save_trace(answer.body);
    }
    response->Post([response, answer = std::move(answer)] { response->Send(answer); });
  });
  if (!queued) response->Send(ErrorHttpResponse(Overloaded("The server is busy.", 1)));
}

void Server::Impl::AnswerInWorker(BodyAnswer answer, HttpRequest request,
                                  std::shared_ptr<ResponseWriter> response) {
  const bool queued = workers->Submit([this, answer, body = std::move(request.body), response] {
    response->Post([response, result = answer(tools, rules, body)] { response->Send(result); });
  });
  if (!queued) response->Send(ErrorHttpResponse(Overloaded("The server is busy.", 1)));
}

void Server::Impl::AddRoutes() {
  using Writer = std::shared_ptr<ResponseWriter>;
  const Router::Access guarded{};
  router.Add("POST", "/v1/chat/completions", guarded, [this](HttpRequest request, Writer response) {
    generation.Handle(Endpoint::kChat, std::move(request), std::move(response));
  });
  router.Add("POST", "/v1/completions", guarded, [this](HttpRequest request, Writer response) {
    generation.Handle(Endpoint::kCompletions, std::move(request), std::move(response));
  });
  router.Add("POST", "/tokenize", guarded, [this](HttpRequest request, Writer response) {
    AnswerInWorker(AnswerTokenize, std::move(request), std::move(response));
  });
  router.Add("POST", "/detokenize", guarded, [this](HttpRequest request, Writer response) {
    AnswerInWorker(AnswerDetokenize, std::move(request), std::move(response));
  });
  AddStateRoutes();
}

void Server::Impl::AddStateRoutes() {
  using Writer = std::shared_ptr<ResponseWriter>;
  const Router::Access open{.open = true, .during_drain = true};
  const Router::Access guarded{.open = false, .during_drain = true};
  router.Add("GET", "/v1/models", guarded, [this](const HttpRequest&, const Writer& response) {
    Json list = {{"object", "list"}, {"data", Json::array()}};
    for (const std::string& name : rules.served_model_names) list["data"].push_back(ModelCard(name));
    response->Send(JsonResponse(list));
  });
  router.Add("GET", "/v1/models/{id}", guarded,
             [this](const HttpRequest& request, const Writer& response) { AnswerModel(request, *response); });
  for (const char* method : {"GET", "POST"}) {
    router.Add(method, "/ping", open,
               [this](const HttpRequest&, const Writer& response) { AnswerHealth(false, *response); });
  }
  router.Add("GET", "/health", open,
             [this](const HttpRequest&, const Writer& response) { AnswerHealth(false, *response); });
  router.Add("GET", "/ready", open,
             [this](const HttpRequest&, const Writer& response) { AnswerHealth(true, *response); });
  router.Add("GET", "/version", open, [this](const HttpRequest&, const Writer& response) {
    response->Send(JsonResponse({{"version", options.version}}));
  });
  router.Add("GET", "/load", guarded,
             [this](const HttpRequest&, const Writer& response) { AnswerLoad(*response); });
  router.Add("GET", "/metrics", guarded,
             [this](const HttpRequest&, const Writer& response) { AnswerMetrics(*response); });
  router.Add("GET", "/server_info", guarded, [this](const HttpRequest&, const Writer& response) {
    response->Send(JsonResponse({{"version", options.version}, {"config", options.server_info}}));
  });
  router.Add("GET", "/openapi.json", guarded, [this](const HttpRequest&, const Writer& response) {
    HttpResponse document;
    document.body = OpenApiDocument(options.version);
    response->Send(std::move(document));
  });
  router.Add("POST", "/start_profile", guarded, [this](const HttpRequest&, const Writer& response) {
    engine.StartTrace();
    response->Send(EmptyResponse());
  });
  router.Add("POST", "/stop_profile", guarded,
             [this](const HttpRequest&, const Writer& response) { AnswerStopProfile(response); });
  router.Add("POST", "/reset_prefix_cache", guarded, [this](const HttpRequest&, const Writer& response) {
    engine.ResetPrefixCache();
    response->Send(EmptyResponse());
  });
  router.Add("POST", "/abort_requests", guarded,
             [this](const HttpRequest& request, const Writer& response) { AnswerAbort(request, *response); });
  if (!options.tokenizer_info) return;
  router.Add("GET", "/tokenizer_info", guarded, [this](const HttpRequest&, const Writer& response) {
    response->Send(JsonResponse(*options.tokenizer_info));
  });
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() { Stop(); }

Result<std::unique_ptr<Server>> Server::Start(ServerOptions options, Engine& engine,
                                              const Tokenizer& tokenizer, const ChatTemplate* chat_template) {
  if (options.served_model_names.empty())
    return InvalidArgument("served_model_names: at least one is needed");
  if (options.http.max_body_bytes == 0) {
    options.http.max_body_bytes =
        std::max(kLeastBodyBytes, kBodyBytesPerToken * static_cast<size_t>(engine.limits().max_model_len));
  }
  auto impl = std::make_unique<Impl>(std::move(options), engine, tokenizer, chat_template);
  impl->AddRoutes();
  Impl* const raw = impl.get();
  ASSIGN_OR_RETURN(impl->http,
                   HttpServer::Start(raw->options.http,
                                     [raw](HttpRequest request, std::shared_ptr<ResponseWriter> response) {
                                       raw->router.Handle(std::move(request), std::move(response));
                                     }));
  LogInfo("Available routes are:");
  for (const std::string& line : impl->router.RouteLines()) LogInfo("Route: {}", line);
  LogInfo("Listening on http://{}:{}", impl->options.http.host, impl->http->port());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

int Server::port() const { return impl_->http->port(); }

void Server::BeginDrain() {
  impl_->http->Post([impl = impl_.get()] { impl->router.BeginDrain(); });
  impl_->http->CloseAfterAnswers();
}

bool Server::WaitIdle(int64_t timeout_us) const {
  const int64_t end_us = NowUs() + timeout_us;
  while (impl_->generation.num_open() > 0) {
    if (NowUs() >= end_us) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void Server::Stop() {
  if (!impl_->workers) return;
  impl_->http->Stop();
  impl_->workers.reset();
}

}  // namespace penstock
