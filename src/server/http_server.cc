// The only file that knows Boost. One I/O thread runs everything here: a coroutine per connection reads
// requests, and while an answer is pending goes on reading, because that is how a disconnect shows. What it
// reads then is the next, pipelined request. Writing is a chain of callbacks beside it. Timeouts are times in
// the connections, looked at by one ticking timer, so that they cost no timer each.
//
// Life of an exchange: the connection holds it, and handlers hold it as a ResponseWriter; it loses its
// connection when it is over (answered, or the client has gone), and is a husk from then on.
//
// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <poll.h>

#include <utility>  // before asio: Boost 1.74's awaitable.hpp uses std::exchange without it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <ctime>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_set>

#include "base/affinity.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/error_response.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using boost::system::error_code;
using RequestParser = beast::http::request_parser<beast::http::string_body>;

constexpr size_t kReadBytes = 16 << 10;          // a read while watching
constexpr size_t kMaxPipelinedBytes = 64 << 10;  // read ahead of an unfinished answer
constexpr int64_t kLingerUs = 2'000'000;
constexpr int64_t kNever = INT64_MAX;

// The I/O thread's queue. Outlives the server where a ResponseWriter does; after Close() nothing is posted.
struct IoLoop {
  asio::io_context context{1};
  std::mutex mutex;
  bool closed = false;  // GUARDED_BY(mutex)

  void Post(std::function<void()> task) {
    std::lock_guard lock(mutex);
    if (!closed) asio::post(context, std::move(task));
  }
  void Close() {
    std::lock_guard lock(mutex);
    closed = true;
  }
};

class Connection;

class Exchange : public ResponseWriter {
 public:
  Exchange(std::shared_ptr<IoLoop> loop, Connection* connection, bool head_only, unsigned http_minor,
           bool keep_alive)
      : loop_(std::move(loop)),
        connection_(connection),
        head_only_(head_only),
        http_minor_(http_minor),
        keep_alive_(keep_alive) {}

  void Post(std::function<void()> task) override { loop_->Post(std::move(task)); }
  void AddHeader(std::string name, std::string value) override {
    headers_.emplace_back(std::move(name), std::move(value));
  }
  void Send(HttpResponse response) override;
  void StartStream(HttpResponse response) override;
  void Write(std::string_view data) override;
  void EndStream(std::string_view last_data) override;
  bool started() const override { return status_ != 0; }
  bool congested() const override;
  void OnDrained(std::function<void()> callback) override { on_drained_ = std::move(callback); }
  void OnGone(std::function<void()> callback) override { on_gone_ = std::move(callback); }
  void OnDone(std::function<void(int)> callback) override { on_done_.push_back(std::move(callback)); }
  void OnIdle(int64_t interval_us, std::function<void()> callback) override {
    idle_interval_us_ = interval_us;
    on_idle_ = std::move(callback);
    last_write_us_ = NowUs();
  }

  // For the connection.
  bool complete() const { return complete_; }  // all of the answer is in the connection's queue
  bool keep_alive() const { return keep_alive_; }
  void Over(bool gone);
  void Drained() {
    if (auto callback = std::exchange(on_drained_, nullptr)) callback();
  }
  void Tick(int64_t now_us) {
    if (!on_idle_ || complete_ || now_us - last_write_us_ < idle_interval_us_) return;
    last_write_us_ = now_us;
    auto callback = on_idle_;  // the call may end the exchange
    callback();
  }

 private:
  void AppendHead(const HttpResponse& response, std::string_view framing);
  void AppendChunk(std::string_view data);
  void Complete();

  const std::shared_ptr<IoLoop> loop_;
  Connection* connection_;  // nullptr: over
  const bool head_only_;
  const unsigned http_minor_;
  bool keep_alive_;
  bool chunked_ = false;
  bool complete_ = false;
  int status_ = 0;
  HttpHeaders headers_;
  std::function<void()> on_drained_, on_gone_, on_idle_;
  std::vector<std::function<void(int)>> on_done_;
  int64_t idle_interval_us_ = 0;
  int64_t last_write_us_ = 0;
};

// What all connections share; I/O thread only.
struct Shared {
  HttpServerOptions options;
  HttpHandler handler;
  std::shared_ptr<IoLoop> loop;
  std::unordered_set<Connection*> connections;
  bool close_after_answers = false;
  size_t body_bytes = 0;  // of all open requests
  time_t date_second = 0;
  std::string date;  // of date_second, as HTTP writes it

  const std::string& Date() {
    if (const time_t now = time(nullptr); now != date_second) {
      tm parts;
      char text[40];
      gmtime_r(&now, &parts);
      strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts);
      date = text;
      date_second = now;
    }
    return date;
  }
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Shared> shared, tcp::socket socket)
      : shared_(std::move(shared)), socket_(std::move(socket)), wake_(socket_.get_executor()) {
    shared_->connections.insert(this);
    error_code ec;
    const tcp::endpoint peer = socket_.remote_endpoint(ec);
    if (!ec) peer_ = fmt::format("{}:{}", peer.address().to_string(), peer.port());
    socket_.set_option(tcp::no_delay(true), ec);
    socket_.set_option(asio::socket_base::send_buffer_size(shared_->options.socket_send_buffer_bytes), ec);
  }
  ~Connection() {
    shared_->connections.erase(this);
    EndExchange(/*gone=*/true);
    ReleaseBody();
  }

  asio::awaitable<void> Run();

  // For the exchange: appends to the queue of output, and writes it when the socket takes it.
  void Append(std::string_view data);
  void Pump();
  size_t queued_bytes() const { return out_.size() + writing_.size() - write_offset_; }
  Shared& shared() { return *shared_; }

  void Tick(int64_t now_us);
  // Ends the exchange as gone and closes the socket: whatever is pending fails, Run() ends.
  void Close();

 private:
  // Reads one request into `parser`; false if the connection is to end, with an error already queued where
  // the client is owed one.
  asio::awaitable<bool> ReadRequest(RequestParser& parser);
  asio::awaitable<bool> ReadBody(RequestParser& parser);
  asio::awaitable<void> WatchUntilAnswered();
  asio::awaitable<void> Linger();
  std::shared_ptr<Exchange> Dispatch(RequestParser& parser);
  void Refuse(int status, std::string message);
  bool RefuseParseError(const error_code& ec);

  void WriteSome();
  void OnWritten(error_code ec, size_t size);
  void EndExchange(bool gone);
  bool PeerHungUp();
  // Counts what has been read of a body, until the request is over; false if all bodies together are too
  // much.
  bool HoldBody(size_t size);
  void ReleaseBody() { HoldBody(0); }

  const std::shared_ptr<Shared> shared_;
  tcp::socket socket_;
  asio::steady_timer wake_;  // never expires; cancelled to wake Run() when nothing is being read
  beast::flat_buffer buffer_{256 << 10};
  std::string peer_;
  std::shared_ptr<Exchange> exchange_;
  size_t body_bytes_ = 0;  // this connection's part of Shared::body_bytes
  bool linger_ = false;    // the client may still be sending: read it away before closing, or it sees a reset

  int64_t read_deadline_us_ = kNever;
  bool read_timed_out_ = false;

  std::string out_;      // to be written after writing_
  std::string writing_;  // from write_offset_
  size_t write_offset_ = 0;
  bool write_active_ = false;
  int64_t last_write_progress_us_ = 0;
};

// ---- Exchange
// ------------------------------------------------------------------------------------------------------

void Exchange::AppendHead(const HttpResponse& response, std::string_view framing) {
  status_ = response.status;
  last_write_us_ = NowUs();
  if (connection_->shared().close_after_answers) keep_alive_ = false;
  std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nServer: penstock\r\n", response.status,
                                 HttpReason(response.status), connection_->shared().Date());
  if (!response.content_type.empty()) head += fmt::format("Content-Type: {}\r\n", response.content_type);
  for (const auto& [name, value] : response.headers) head += fmt::format("{}: {}\r\n", name, value);
  for (const auto& [name, value] : headers_) head += fmt::format("{}: {}\r\n", name, value);
  if (!keep_alive_)
    head += "Connection: close\r\n";
  else if (http_minor_ == 0)
    head += "Connection: keep-alive\r\n";
  head += framing;
  head += "\r\n";
  connection_->Append(head);
}

void Exchange::Send(HttpResponse response) {
  if (!connection_ || started()) return;
  AppendHead(response,
             response.status == 204 ? "" : fmt::format("Content-Length: {}\r\n", response.body.size()));
  if (!head_only_) connection_->Append(response.body);
  Complete();
}

void Exchange::StartStream(HttpResponse response) {
  if (!connection_ || started()) return;
  chunked_ = http_minor_ >= 1;
  if (!chunked_) keep_alive_ = false;  // the end of the connection ends the answer
  AppendHead(response, chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
  connection_->Pump();
}

void Exchange::Write(std::string_view data) {
  if (!connection_ || complete_ || data.empty()) return;
  AppendChunk(data);
  connection_->Pump();
}

void Exchange::AppendChunk(std::string_view data) {
  last_write_us_ = NowUs();
  if (head_only_) return;
  if (chunked_) connection_->Append(fmt::format("{:x}\r\n", data.size()));
  connection_->Append(data);
  if (chunked_) connection_->Append("\r\n");
}

void Exchange::EndStream(std::string_view last_data) {
  if (!connection_ || complete_) return;
  if (!last_data.empty()) AppendChunk(last_data);
  if (chunked_ && !head_only_) connection_->Append("0\r\n\r\n");
  Complete();
}

void Exchange::Complete() {
  complete_ = true;
  connection_->Pump();
}

bool Exchange::congested() const {
  return connection_ && connection_->queued_bytes() > connection_->shared().options.high_water_bytes;
}

void Exchange::Over(bool gone) {
  if (!connection_) return;
  connection_ = nullptr;
  on_idle_ = nullptr;
  on_drained_ = nullptr;
  // Moved out first: the callbacks hold what may hold this exchange.
  auto on_gone = std::exchange(on_gone_, nullptr);
  auto on_done = std::exchange(on_done_, {});
  if (gone && on_gone) on_gone();
  for (const auto& callback : on_done) callback(gone ? 499 : status_);
}

// ---- Connection: reading
// -------------------------------------------------------------------------------------------

asio::awaitable<void> Connection::Run() {
  const auto self = shared_from_this();
  while (socket_.is_open()) {
    RequestParser parser;
    if (!co_await ReadRequest(parser)) break;
    const std::shared_ptr<Exchange> exchange = Dispatch(parser);
    co_await WatchUntilAnswered();
    ReleaseBody();
    if (!exchange->keep_alive()) break;
  }
  co_await Linger();
  Close();
}

asio::awaitable<bool> Connection::ReadRequest(RequestParser& parser) {
  const HttpServerOptions& options = shared_->options;
  parser.header_limit(options.max_header_bytes);
  parser.body_limit(options.max_body_bytes);
  error_code ec;
  if (buffer_.size() == 0) {
    read_deadline_us_ = NowUs() + options.idle_timeout_us;
    const size_t size = co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                         asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return false;
    buffer_.commit(size);
  }
  read_deadline_us_ = NowUs() + options.header_timeout_us;
  co_await beast::http::async_read_header(socket_, buffer_, parser,
                                          asio::redirect_error(asio::use_awaitable, ec));
  if (ec) co_return RefuseParseError(ec);
  const auto& head = parser.get();
  if (static_cast<size_t>(std::distance(head.begin(), head.end())) > options.max_headers) {
    Refuse(431, fmt::format("more than {} header fields", options.max_headers));
    co_return false;
  }
  if (const auto expect = head.find(beast::http::field::expect); expect != head.end() && !parser.is_done()) {
    if (!beast::iequals(expect->value(), "100-continue")) {
      Refuse(417, "only Expect: 100-continue is supported");
      co_return false;
    }
    if (head.version() >= 11) {
      Append("HTTP/1.1 100 Continue\r\n\r\n");
      Pump();
    }
  }
  const bool whole = co_await ReadBody(parser);
  read_deadline_us_ = kNever;
  co_return whole;
}

asio::awaitable<bool> Connection::ReadBody(RequestParser& parser) {
  const HttpServerOptions& options = shared_->options;
  const int64_t last_us = NowUs() + options.body_timeout_us;
  while (!parser.is_done()) {
    error_code ec;
    read_deadline_us_ = std::min(last_us, NowUs() + options.body_stall_timeout_us);
    co_await beast::http::async_read_some(socket_, buffer_, parser,
                                          asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return RefuseParseError(ec);
    if (!HoldBody(parser.get().body().size())) {
      Refuse(503, "the server holds too many large requests");
      co_return false;
    }
  }
  co_return true;
}

bool Connection::HoldBody(size_t size) {
  shared_->body_bytes += size - body_bytes_;
  body_bytes_ = size;
  return shared_->body_bytes <= shared_->options.max_total_body_bytes;
}

// Always false, for `co_return RefuseParseError(ec)`.
bool Connection::RefuseParseError(const error_code& ec) {
  namespace http = beast::http;
  if (read_timed_out_) {
    Refuse(408, "the request did not arrive in time");
  } else if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
    Refuse(431, fmt::format("the header is larger than {} bytes", shared_->options.max_header_bytes));
  } else if (ec == http::error::body_limit) {
    Refuse(413, fmt::format("the body is larger than {} bytes", shared_->options.max_body_bytes));
  } else if (ec == http::error::end_of_stream || ec == http::error::partial_message) {
    // the client has closed
  } else if (ec.category() == http::make_error_code(http::error::bad_method).category()) {
    Refuse(400, fmt::format("malformed HTTP request: {}", ec.message()));
  }
  return false;
}

// Answers without a handler, and ends the connection.
void Connection::Refuse(int status, std::string message) {
  read_deadline_us_ = kNever;
  linger_ = true;
  ApiError error;
  error.http_status = status;
  error.message = std::move(message);
  exchange_ = std::make_shared<Exchange>(shared_->loop, this, false, 1, /*keep_alive=*/false);
  exchange_->Send(ErrorHttpResponse(error));
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string PercentDecode(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

std::shared_ptr<Exchange> Connection::Dispatch(RequestParser& parser) {
  const bool keep_alive = parser.keep_alive();
  auto message = parser.release();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target(message.target().data(), message.target().size());
  request.path = PercentDecode(target.substr(0, target.find('?')));
  for (const auto& field : message) {
    std::string name(field.name_string());
    for (char& c : name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    request.headers.emplace_back(std::move(name), std::string(field.value()));
  }
  request.body = std::move(message.body());
  request.peer = peer_;
  const auto exchange = std::make_shared<Exchange>(shared_->loop, this, request.method == "HEAD",
                                                   message.version() % 10, keep_alive);
  exchange_ = exchange;
  shared_->handler(std::move(request), exchange);
  return exchange;
}

// Returns when the exchange is over. Until then reads, to see the client go; what comes is kept for the next
// request.
asio::awaitable<void> Connection::WatchUntilAnswered() {
  while (exchange_) {
    error_code ec;
    if (buffer_.size() >= kMaxPipelinedBytes) {  // Tick() looks for the disconnect
      wake_.expires_at(asio::steady_timer::time_point::max());
      co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      continue;
    }
    const size_t size = co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                                         asio::redirect_error(asio::use_awaitable, ec));
    buffer_.commit(size);
    if (ec && ec != asio::error::operation_aborted) Close();
  }
}

asio::awaitable<void> Connection::Linger() {
  while (exchange_ && socket_.is_open()) {  // the refusal is still being written
    error_code ec;
    wake_.expires_at(asio::steady_timer::time_point::max());
    co_await wake_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  }
  if (!socket_.is_open()) co_return;
  error_code ec;
  socket_.shutdown(tcp::socket::shutdown_send, ec);
  read_timed_out_ = false;
  read_deadline_us_ = NowUs() + kLingerUs;
  while (linger_ && !ec) {
    buffer_.clear();
    co_await socket_.async_read_some(buffer_.prepare(kReadBytes),
                                     asio::redirect_error(asio::use_awaitable, ec));
  }
}

// ---- Connection: writing
// -------------------------------------------------------------------------------------------

void Connection::Append(std::string_view data) { out_ += data; }

void Connection::Pump() {
  if (write_active_ || !socket_.is_open()) return;
  if (out_.empty()) {
    if (exchange_ && exchange_->complete()) EndExchange(/*gone=*/false);
    return;
  }
  writing_.clear();
  writing_.swap(out_);
  write_offset_ = 0;
  write_active_ = true;
  last_write_progress_us_ = NowUs();
  WriteSome();
}

void Connection::WriteSome() {
  socket_.async_write_some(
      asio::buffer(writing_.data() + write_offset_, writing_.size() - write_offset_),
      [self = shared_from_this()](const error_code& ec, size_t size) { self->OnWritten(ec, size); });
}

void Connection::OnWritten(error_code ec, size_t size) {
  if (ec) {
    write_active_ = false;
    Close();
    return;
  }
  write_offset_ += size;
  last_write_progress_us_ = NowUs();
  if (write_offset_ < writing_.size()) {
    WriteSome();
    return;
  }
  write_active_ = false;
  writing_.clear();
  write_offset_ = 0;
  if (writing_.capacity() > 4 * shared_->options.high_water_bytes) writing_.shrink_to_fit();
  if (exchange_ && out_.empty() && !exchange_->complete()) {
    const std::shared_ptr<Exchange> exchange = exchange_;
    exchange->Drained();
  }
  Pump();
}

// ---- Connection: ending
// --------------------------------------------------------------------------------------------

void Connection::EndExchange(bool gone) {
  const std::shared_ptr<Exchange> exchange = std::exchange(exchange_, nullptr);
  if (!exchange) return;
  exchange->Over(gone);
  error_code ec;
  socket_.cancel(ec);  // wakes Run() from its watching read
  wake_.cancel();
}

void Connection::Close() {
  EndExchange(/*gone=*/true);
  error_code ec;
  socket_.close(ec);
  wake_.cancel();
}

bool Connection::PeerHungUp() {
  pollfd poll_fd{.fd = socket_.native_handle(), .events = POLLRDHUP, .revents = 0};
  return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

void Connection::Tick(int64_t now_us) {
  if (!socket_.is_open()) return;
  if (write_active_ && now_us - last_write_progress_us_ > shared_->options.write_stall_timeout_us) {
    LogWarning("{}: the client takes no data, dropped", peer_);
    Close();
    return;
  }
  if (now_us > read_deadline_us_) {
    read_deadline_us_ = kNever;
    read_timed_out_ = true;
    error_code ec;
    socket_.cancel(ec);
    return;
  }
  if (exchange_ && buffer_.size() >= kMaxPipelinedBytes && PeerHungUp()) {
    Close();
    return;
  }
  if (const std::shared_ptr<Exchange> exchange = exchange_) exchange->Tick(now_us);
}

}  // namespace

// ---- HttpServer
// ----------------------------------------------------------------------------------------------------

struct HttpServer::Impl {
  explicit Impl(HttpServerOptions options, HttpHandler handler) {
    shared->options = std::move(options);
    shared->handler = std::move(handler);
    shared->loop = loop;
  }

  Status Listen();
  asio::awaitable<void> Accept();
  asio::awaitable<void> Tick();
  void RunLoop();

  std::shared_ptr<IoLoop> loop = std::make_shared<IoLoop>();
  std::shared_ptr<Shared> shared = std::make_shared<Shared>();
  tcp::acceptor acceptor{loop->context};
  asio::steady_timer ticker{loop->context};
  int port = 0;
  std::thread thread;
};

Status HttpServer::Impl::Listen() {
  const HttpServerOptions& options = shared->options;
  const auto failed = [&](std::string_view what, const error_code& ec) {
    return Unavailable("{}:{}: cannot {}: {}", options.host, options.port, what, ec.message());
  };
  std::string host = options.host.empty() ? "0.0.0.0" : options.host;
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  error_code ec;
  tcp::resolver resolver(loop->context);
  const auto endpoints = resolver.resolve(host, std::to_string(options.port), tcp::resolver::passive, ec);
  if (ec || endpoints.empty()) return failed("resolve the host", ec);
  const tcp::endpoint endpoint = endpoints.begin()->endpoint();
  acceptor.open(endpoint.protocol(), ec);
  if (ec) return failed("open a socket", ec);
  acceptor.set_option(tcp::acceptor::reuse_address(true), ec);
  acceptor.bind(endpoint, ec);
  if (ec) return failed("bind", ec);
  acceptor.listen(asio::socket_base::max_listen_connections, ec);
  if (ec) return failed("listen", ec);
  port = acceptor.local_endpoint(ec).port();
  return OkStatus();
}

// An exception that ends one connection's coroutine: out of memory, or a bug; the server goes on.
void LogConnectionError(const std::exception_ptr& error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    LogError("a connection ended: {}", exception.what());
  }
}

asio::awaitable<void> HttpServer::Impl::Accept() {
  while (acceptor.is_open()) {
    error_code ec;
    tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, ec));
    if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) co_return;
    if (ec) {  // no file descriptors left, most often: wait for some to be closed
      LogWarning("accept: {}", ec.message());
      asio::steady_timer pause(loop->context, std::chrono::milliseconds(100));
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, ec));
      continue;
    }
    if (shared->connections.size() >= shared->options.max_connections) continue;  // closes it
    auto connection = std::make_shared<Connection>(shared, std::move(socket));
    asio::co_spawn(
        loop->context, [connection] { return connection->Run(); },
        [](const std::exception_ptr& error) { LogConnectionError(error); });
  }
}

asio::awaitable<void> HttpServer::Impl::Tick() {
  while (acceptor.is_open()) {
    error_code ec;
    ticker.expires_after(std::chrono::microseconds(shared->options.tick_us));
    co_await ticker.async_wait(asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return;
    std::vector<std::shared_ptr<Connection>> connections;  // a tick can end one
    connections.reserve(shared->connections.size());
    for (Connection* connection : shared->connections) connections.push_back(connection->shared_from_this());
    const int64_t now_us = NowUs();
    for (const auto& connection : connections) connection->Tick(now_us);
  }
}

void HttpServer::Impl::RunLoop() {
  NameThisThread("http");
  while (!loop->context.stopped()) {
    try {
      loop->context.run();
    } catch (const std::exception& exception) {
      LogError("http: {}", exception.what());
    }
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() { Stop(); }

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpServerOptions options, HttpHandler handler) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(handler));
  RETURN_IF_ERROR(impl->Listen());
  Impl* const raw = impl.get();
  asio::co_spawn(raw->loop->context, [raw] { return raw->Accept(); }, asio::detached);
  asio::co_spawn(raw->loop->context, [raw] { return raw->Tick(); }, asio::detached);
  impl->thread = std::thread([raw] { raw->RunLoop(); });
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

int HttpServer::port() const { return impl_->port; }

void HttpServer::Post(std::function<void()> task) { impl_->loop->Post(std::move(task)); }

void HttpServer::CloseAfterAnswers() {
  impl_->loop->Post([shared = impl_->shared] { shared->close_after_answers = true; });
}

void HttpServer::Stop() {
  if (!impl_->thread.joinable()) return;
  impl_->loop->Post([impl = impl_.get()] {
    error_code ec;
    impl->acceptor.close(ec);
    impl->ticker.cancel();
    std::vector<std::shared_ptr<Connection>> connections;
    for (Connection* connection : impl->shared->connections)
      connections.push_back(connection->shared_from_this());
    for (const auto& connection : connections) connection->Close();
    impl->loop->Close();
    impl->loop->context.stop();
  });
  impl_->thread.join();
  // What was queued runs to its end here: coroutines whose sockets are closed, tasks that find their exchange
  // over.
  impl_->loop->context.restart();
  impl_->loop->context.poll();
  impl_->shared->handler = nullptr;
}

}  // namespace penstock
