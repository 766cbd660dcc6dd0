// HTTP and WebSocket on Boost.Beast, in coroutines on one thread. What is said and who may hear it
// is decided elsewhere (routes, trust, connection); here are sockets, deadlines and the shutdown.
#include "ui/server.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <stdexcept>
#include <utility>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket.hpp>
#include <fmt/format.h>

#include "ui/hub.h"
#include "ui/server/closing_socket.h"
#include "ui/server/connection.h"
#include "ui/server/routes.h"
#include "ui/server/trust.h"
#include "ui/version.h"
#include "ui/wire.h"

namespace fathom::ui {

namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using net::ip::tcp;
using std::chrono::seconds;
using Message = http::request<http::string_body>;

// Completions as (error, …) instead of exceptions: a peer that goes away is no surprise.
constexpr auto kAwait = net::as_tuple(net::use_awaitable);

constexpr int kSocketsMax = 128;     // all of TCP; a browser opens six per page
constexpr int kConnectionsMax = 32;  // WebSockets
constexpr std::size_t kHeaderBytesMax = 16 << 10;
constexpr std::size_t kBodyBytesMax = 64 << 10;
constexpr seconds kHttpIdle{30};
constexpr seconds kHandshakeWithin{5};
constexpr seconds kPingEvery{15};
constexpr seconds kSilentFor{20};      // no byte written, or no answer to a ping
constexpr seconds kTurnEndsWithin{5};  // at shutdown
constexpr seconds kClosesWithin{2};

// Written at a time, so that progress on a slow socket can be told from none.
constexpr std::size_t kPieceBytes = 16 << 10;

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

Credentials credentials_of(const Message& message) {
  Credentials credentials{.host = view(message[http::field::host]),
                          .origin = std::nullopt,
                          .authorization = view(message[http::field::authorization]),
                          .subprotocols = view(message[http::field::sec_websocket_protocol])};
  if (const auto origin = message.find(http::field::origin); origin != message.end()) {
    credentials.origin = view(origin->value());
  }
  return credentials;
}

http::response<http::string_body> message_of(const Response& response, const Message& request) {
  http::response<http::string_body> message(static_cast<http::status>(response.status),
                                            request.version());
  for (const auto& [name, value] : security_headers()) message.set(name, value);
  message.set(http::field::content_type, response.type);
  if (!response.etag.empty()) message.set(http::field::etag, response.etag);
  if (!response.content_range.empty()) {
    message.set(http::field::content_range, response.content_range);
  }
  if (!response.gzip.empty()) {
    message.set(http::field::content_encoding, "gzip");
    message.body() = std::string(response.gzip);
  } else {
    message.body() = response.body;
  }
  message.keep_alive(request.keep_alive());
  message.prepare_payload();
  if (request.method() == http::verb::head) message.body().clear();
  return message;
}

// What to answer to bytes that cannot be read as a request; nothing if the peer has gone.
std::optional<Response> refusal_of(beast::error_code error) {
  if (error == http::error::header_limit) {
    return problem(431,
                   fmt::format("A request's header has at most {} KiB.", kHeaderBytesMax >> 10));
  }
  if (error == http::error::body_limit) {
    return problem(413, fmt::format("A request's body has at most {} KiB.", kBodyBytesMax >> 10));
  }
  const bool is_ours = error.category() == make_error_code(http::error::bad_method).category();
  if (!is_ours || error == http::error::end_of_stream) return std::nullopt;
  return problem(400, "This is no HTTP request that can be read: " + error.message() + ".");
}

// One WebSocket: reader and writer share it, on the loop's thread.
struct Socket {
  Socket(tcp::socket socket, Hub& hub, Role role, const std::string& epoch)
      : stream(std::move(socket)),
        timer(stream.get_executor()),
        watchdog(stream.get_executor()),
        connection(hub, role, epoch, Clock::now()),
        last_heard(Clock::now()) {}

  void wake() { timer.cancel(); }

  void close_with(CloseCode code, std::string reason) {
    if (!closing) closing = {static_cast<std::uint16_t>(code), std::move(reason)};
    wake();
  }

  websocket::stream<ClosingSocket> stream;
  net::steady_timer timer;     // the writer waits on it
  net::steady_timer watchdog;  // ends a write that makes no progress
  Connection connection;
  std::shared_ptr<Hub::Watch> watch;
  std::shared_ptr<std::atomic<bool>> woken = std::make_shared<std::atomic<bool>>(false);
  std::optional<std::pair<std::uint16_t, std::string>> closing;
  bool gone = false;  // the reader has ended
  Clock::time_point last_heard;
  Clock::time_point last_ping{};
};

std::string random_epoch() {
  const auto now = std::chrono::system_clock::now().time_since_epoch().count();
  return fmt::format("{:x}", now);
}

}  // namespace

class Server::Loop {
 public:
  Loop(ServerOptions options, Hub& hub)
      : options_(std::move(options)),
        hub_(hub),
        acceptor_(listen()),
        trust_(options_, acceptor_.local_endpoint().port()),
        signals_(io_),
        shutdown_(io_),
        epoch_(random_epoch()) {}

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

  void run() {
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    signals_.async_wait([this](beast::error_code error, int) {
      if (!error) begin_shutdown();
    });
    net::co_spawn(io_, accept(), net::detached);
    io_.run();
  }

  void stop() {
    net::post(io_, [this] { begin_shutdown(); });
  }

 private:
  tcp::acceptor listen() {
    beast::error_code error;
    const auto address = net::ip::make_address(
        options_.address == "localhost" ? "127.0.0.1" : options_.address, error);
    if (error) {
      throw std::invalid_argument(
          "--listen needs an address and a port, such as 127.0.0.1:7777; \"" + options_.address +
          "\" is no address");
    }
    if (!address.is_loopback() && !options_.insecure_plain_http) {
      throw std::invalid_argument(
          options_.address +
          " is not loopback: others could read along. Listen on 127.0.0.1, or accept that with "
          "--insecure-plain-http");
    }
    const tcp::endpoint endpoint(address, options_.port);
    tcp::acceptor acceptor(io_);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(net::socket_base::reuse_address(true));
    acceptor.bind(endpoint, error);
    if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
    if (error) {
      throw std::runtime_error(
          fmt::format("cannot listen on {}:{}: {}. Choose another port with "
                      "--listen {}:PORT",
                      options_.address, options_.port, error.message(), options_.address));
    }
    return acceptor;
  }

  net::awaitable<void> accept() {
    while (acceptor_.is_open()) {
      auto [error, socket] = co_await acceptor_.async_accept(kAwait);
      if (error || sockets_ >= kSocketsMax) continue;
      net::co_spawn(io_, serve_http(std::move(socket)), net::detached);
    }
  }

  // Requests of one TCP connection, until it becomes a WebSocket or is left idle.
  net::awaitable<void> serve_http(tcp::socket socket) {
    const Count count(sockets_);
    beast::tcp_stream stream(std::move(socket));
    beast::flat_buffer buffer;
    while (true) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(kHeaderBytesMax);
      parser.body_limit(kBodyBytesMax);
      stream.expires_after(kHttpIdle);
      if (const auto [error, bytes] = co_await http::async_read(stream, buffer, parser, kAwait);
          error) {
        if (const auto refusal = refusal_of(error)) co_await refuse(stream, *refusal);
        break;
      }
      const Message& request = parser.get();
      const auto target = view(request.target());
      const bool upgrade = websocket::is_upgrade(request) && target == "/ws";
      Verdict verdict;
      if (upgrade) verdict = trust_.admit(credentials_of(request), Clock::now());
      if (upgrade && verdict.status == 200) {
        stream.expires_never();
        co_await serve_websocket(stream.release_socket(), request, verdict.role);
        co_return;
      }
      const auto answer = message_of(answer_to(request, upgrade, verdict), request);
      http::response_serializer<http::string_body> serializer(answer);
      const auto [error, bytes] = co_await http::async_write(stream, serializer, kAwait);
      if (error || !answer.keep_alive() || stopping_) break;
    }
    beast::error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  // Answers a request of which nothing is known but that it is wrong. What the peer still sends is
  // dropped: a socket that is closed over unread bytes is reset, and the answer may be lost.
  static net::awaitable<void> refuse(beast::tcp_stream& stream, const Response& refusal) {
    Message unknown;
    unknown.keep_alive(false);
    const auto answer = message_of(refusal, unknown);
    http::response_serializer<http::string_body> serializer(answer);
    stream.expires_after(kClosesWithin);
    if (const auto [error, bytes] = co_await http::async_write(stream, serializer, kAwait); error) {
      co_return;
    }
    beast::error_code failed;
    stream.socket().shutdown(tcp::socket::shutdown_send, failed);
    std::string dropped(kPieceBytes, '\0');
    while (!failed) {
      const auto [error, bytes] = co_await stream.async_read_some(net::buffer(dropped), kAwait);
      failed = error;
    }
  }

  Response answer_to(const Message& request, bool upgrade, const Verdict& verdict) {
    if (upgrade) {
      Response refused;
      refused.status = verdict.status;
      refused.body = std::string(verdict.reason) + "\n";
      return refused;
    }
    return respond({.method = view(request.method_string()),
                    .target = view(request.target()),
                    .credentials = credentials_of(request),
                    .if_none_match = view(request[http::field::if_none_match]),
                    .range = view(request[http::field::range])},
                   trust_, hub_, Clock::now());
  }

  // --- WebSocket -------------------------------------------------------------------------------

  net::awaitable<void> serve_websocket(tcp::socket tcp_socket, const Message& request, Role role) {
    tcp_socket.set_option(tcp::no_delay(true));
    auto socket = std::make_shared<Socket>(std::move(tcp_socket), hub_, role, epoch_);
    auto& stream = socket->stream;
    stream.set_option(
        websocket::stream_base::timeout{kHandshakeWithin, websocket::stream_base::none(), false});
    stream.set_option(websocket::stream_base::decorator([](websocket::response_type& response) {
      response.set(http::field::sec_websocket_protocol, "fathom.v1");
      response.set(http::field::server, "fathom");
    }));
    stream.read_message_max(0);  // we count ourselves, to close with our own code
    if (const auto [error] = co_await stream.async_accept(request, kAwait); error) co_return;

    follow_changes(socket);
    all_.push_back(socket);
    std::erase_if(all_, [](const auto& one) { return one.expired(); });
    const Count count(connections_);
    if (connections_ > kConnectionsMax) {
      socket->close_with(CloseCode::too_many, "At most 32 windows can be open.");
    }
    net::co_spawn(io_, read(socket), net::detached);
    co_await write(socket);
  }

  // Any thread may report a change; one post at a time wakes the writer.
  void follow_changes(const std::shared_ptr<Socket>& socket) {
    // Only the loop's thread may own a socket, so the other threads hold no more than its flag.
    socket->watch = hub_.watch([this, woken = socket->woken, weak = std::weak_ptr(socket)] {
      if (woken->exchange(true)) return;
      net::post(io_, [weak] {
        if (const auto still_alive = weak.lock()) still_alive->wake();
      });
    });
  }

  static net::awaitable<void> read(std::shared_ptr<Socket> socket) {
    beast::flat_buffer buffer;
    socket->stream.control_callback(
        [raw = socket.get()](websocket::frame_type, beast::string_view) {
          raw->last_heard = Clock::now();
        });
    while (!socket->closing) {
      const auto [error, bytes] =
          co_await socket->stream.async_read_some(buffer, kPieceBytes, kAwait);
      if (error) break;
      socket->last_heard = Clock::now();
      if (socket->stream.got_binary()) {
        socket->close_with(CloseCode::not_understood, "Frames are text.");
      } else if (buffer.size() > kClientFrameBytesMax) {
        socket->close_with(CloseCode::too_large, "A frame has at most 1 MiB.");
      } else if (socket->stream.is_message_done()) {
        const std::string_view frame(static_cast<const char*>(buffer.data().data()), buffer.size());
        if (const auto refusal = socket->connection.receive(frame, Clock::now())) {
          socket->close_with(*refusal->close, refusal->message);
        }
        buffer.consume(buffer.size());
        socket->wake();
      }
    }
    // The close frame's answer is read by closing; otherwise the peer has gone.
    if (!socket->closing) socket->gone = true;
    socket->wake();
  }

  static net::awaitable<void> write(std::shared_ptr<Socket> socket) {
    while (!socket->gone && !socket->closing) {
      const auto now = Clock::now();
      *socket->woken = false;
      if (const auto refusal = socket->connection.overdue(now)) {
        socket->close_with(*refusal->close, refusal->message);
      } else if (const auto frame = socket->connection.next_frame(now)) {
        if (!co_await write_frame(socket, *frame)) break;
      } else if (now - socket->last_heard >= kPingEvery + kSilentFor) {
        socket->close_with(CloseCode::silent, "No answer to a ping.");
      } else if (now - std::max(socket->last_heard, socket->last_ping) >= kPingEvery) {
        socket->last_ping = now;
        if (const auto [error] = co_await socket->stream.async_ping({}, kAwait); error) break;
      } else {
        const auto ping = std::max(socket->last_heard, socket->last_ping) + kPingEvery;
        socket->timer.expires_at(std::min(socket->connection.due(now), ping));
        if (!*socket->woken) co_await socket->timer.async_wait(kAwait);
      }
    }
    if (socket->closing && !socket->gone) {
      if (socket->closing->first == static_cast<std::uint16_t>(CloseCode::shutting_down)) {
        co_await write_rest(socket);
      }
      const auto code = static_cast<websocket::close_code>(socket->closing->first);
      const websocket::close_reason reason(code, socket->closing->second);
      co_await socket->stream.async_close(reason, kAwait);
    }
    if (!socket->closing) co_await wait_for_reader(socket);
    beast::error_code ignored;
    socket->stream.next_layer().next_layer().close(ignored);
  }

  // Where Beast has closed by itself no write succeeds any more, but the reader still takes what
  // comes: on a socket that is closed over unread bytes, the peer may never see why.
  static net::awaitable<void> wait_for_reader(std::shared_ptr<Socket> socket) {
    const auto give_up = Clock::now() + kClosesWithin;
    while (!socket->gone && Clock::now() < give_up) {
      socket->timer.expires_at(give_up);
      co_await socket->timer.async_wait(kAwait);
    }
  }

  // What was said last still goes out, without the pauses between frames.
  static net::awaitable<void> write_rest(std::shared_ptr<Socket> socket) {
    auto at = Clock::now() + seconds(1);
    for (auto frame = socket->connection.next_frame(at); frame;
         frame = socket->connection.next_frame(at)) {
      if (!co_await write_frame(socket, *frame)) break;
      at += seconds(1);
    }
  }

  // Writes in pieces; each must be taken by the peer within kSilentFor.
  static net::awaitable<bool> write_frame(std::shared_ptr<Socket> socket,
                                          const std::string& frame) {
    socket->stream.text(true);
    for (std::size_t at = 0; at < frame.size(); at += kPieceBytes) {
      const std::size_t bytes = std::min(kPieceBytes, frame.size() - at);
      socket->watchdog.expires_after(kSilentFor);
      socket->watchdog.async_wait([weak = std::weak_ptr(socket)](beast::error_code error) {
        const auto alive = weak.lock();
        beast::error_code ignored;
        if (!error && alive) alive->stream.next_layer().next_layer().close(ignored);
      });
      const auto [error, written] = co_await socket->stream.async_write_some(
          at + bytes == frame.size(), net::buffer(frame.data() + at, bytes), kAwait);
      socket->watchdog.cancel();
      if (error) co_return false;
    }
    co_return true;
  }

  // --- the end ---------------------------------------------------------------------------------

  // The running turn ends first, so that everyone still sees its result.
  void begin_shutdown() {
    if (std::exchange(stopping_, true)) {
      io_.stop();  // asked twice: at once
      return;
    }
    signals_.async_wait([this](beast::error_code error, int) {
      if (!error) io_.stop();
    });
    beast::error_code ignored;
    acceptor_.close(ignored);
    net::co_spawn(io_, shut_down(), net::detached);
  }

  net::awaitable<void> shut_down() {
    const auto give_up = Clock::now() + kTurnEndsWithin;
    const auto watch = hub_.watch([this] { net::post(io_, [this] { shutdown_.cancel(); }); });
    hub_.stop();
    while (!hub_.idle() && Clock::now() < give_up) {
      shutdown_.expires_at(give_up);
      co_await shutdown_.async_wait(kAwait);
    }
    for (const auto& weak : all_) {
      if (const auto socket = weak.lock()) {
        socket->close_with(CloseCode::shutting_down, R"({"retry_ms":1000})");
      }
    }
    const auto closed_by = Clock::now() + kClosesWithin;
    while (connections_ > 0 && Clock::now() < closed_by) {
      shutdown_.expires_after(std::chrono::milliseconds(20));
      co_await shutdown_.async_wait(kAwait);
    }
    io_.stop();
  }

  // Counts while it lives.
  class Count {
   public:
    explicit Count(int& count) : count_(count) { ++count_; }
    ~Count() { --count_; }
    Count(const Count&) = delete;
    Count& operator=(const Count&) = delete;

   private:
    int& count_;
  };

  const ServerOptions options_;
  Hub& hub_;
  net::io_context io_{1};
  tcp::acceptor acceptor_;
  Trust trust_;
  net::signal_set signals_;
  net::steady_timer shutdown_;
  const std::string epoch_;
  std::vector<std::weak_ptr<Socket>> all_;
  int sockets_ = 0;
  int connections_ = 0;
  bool stopping_ = false;
};

Server::Server(ServerOptions options, Hub& hub)
    : loop_(std::make_unique<Loop>(std::move(options), hub)) {}

Server::~Server() = default;

std::uint16_t Server::port() const {
  return loop_->port();
}

void Server::run() {
  loop_->run();
}

void Server::stop() {
  loop_->stop();
}

}  // namespace fathom::ui
