// The socket below a WebSocket, which closes with our code where Boost.Beast closes with its own.
//
// Beast checks that a text frame is UTF-8 and closes with 1007 when it is not, before the frame is
// seen by anybody; the check cannot be switched off. In `fathom.v1` a frame that is not understood
// ends with 4400, which tells a client not to connect and send the same again. So that one frame is
// exchanged on its way out. No other write is those four bytes: what Beast writes for us is a whole
// header or text in which control characters are escaped.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include <boost/asio/buffer.hpp>
#include <boost/asio/compose.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <boost/beast/websocket/teardown.hpp>

#include "ui/wire.h"

namespace fathom::ui {

// A last frame of opcode 8 with two bytes, unmasked as a server's are (RFC 6455, section 5.5.1).
using CloseFrame = std::array<std::uint8_t, 4>;
constexpr CloseFrame close_frame(std::uint16_t code) {
  return {0x88, 2, static_cast<std::uint8_t>(code >> 8), static_cast<std::uint8_t>(code & 0xff)};
}
inline constexpr CloseFrame kBadPayload =
    close_frame(boost::beast::websocket::close_code::bad_payload);
inline constexpr CloseFrame kNotUnderstood =
    close_frame(static_cast<std::uint16_t>(CloseCode::not_understood));

// An asynchronous stream, as websocket::stream asks for one.
class ClosingSocket {
 public:
  using Tcp = boost::asio::ip::tcp::socket;
  using executor_type = Tcp::executor_type;  // the name that Asio looks for

  explicit ClosingSocket(Tcp socket) : socket_(std::move(socket)) {}

  executor_type get_executor() noexcept { return socket_.get_executor(); }
  Tcp& next_layer() noexcept { return socket_; }

  template <class Buffers, class Handler>
  auto async_read_some(const Buffers& buffers, Handler&& handler) {
    return socket_.async_read_some(buffers, std::forward<Handler>(handler));
  }

  template <class Buffers, class Handler>
  auto async_write_some(const Buffers& buffers, Handler&& handler) {
    if (holds(buffers, kBadPayload)) {
      return socket_.async_write_some(boost::asio::buffer(kNotUnderstood),
                                      std::forward<Handler>(handler));
    }
    return socket_.async_write_some(buffers, std::forward<Handler>(handler));
  }

 private:
  template <class Buffers>
  static bool holds(const Buffers& buffers, const CloseFrame& frame) {
    CloseFrame bytes = {};
    return boost::asio::buffer_size(buffers) == frame.size() &&
           boost::asio::buffer_copy(boost::asio::buffer(bytes), buffers) == frame.size() &&
           bytes == frame;
  }

  Tcp socket_;
};

// Says that no more comes, then takes what the peer sends until it ends too. Beast's own way closes
// after the first bytes that come; the rest resets the connection, and the peer may lose the frame
// that says why. Whoever cannot wait closes the socket.
struct TakeRest {
  ClosingSocket::Tcp& socket;
  std::unique_ptr<std::array<char, 16 << 10>> rest = {};

  template <class Self>
  void operator()(Self& self, boost::beast::error_code error = {}, std::size_t /*bytes*/ = 0) {
    if (error) {
      self.complete(error == boost::asio::error::eof ? boost::beast::error_code() : error);
      return;
    }
    if (rest == nullptr) {
      rest = std::make_unique<std::array<char, 16 << 10>>();
      boost::beast::error_code gone;  // then reading says so too
      socket.shutdown(ClosingSocket::Tcp::shutdown_send, gone);
    }
    ClosingSocket::Tcp& reading = socket;  // `self` takes this object with it
    const auto space = boost::asio::buffer(*rest);
    reading.async_read_some(space, std::move(self));
  }
};

// How websocket::stream ends one; found by their argument.
inline void teardown(boost::beast::role_type role, ClosingSocket& socket,
                     boost::beast::error_code& error) {
  boost::beast::websocket::teardown(role, socket.next_layer(), error);
}
template <class Handler>
void async_teardown(boost::beast::role_type, ClosingSocket& socket, Handler&& handler) {
  using Token = std::decay_t<Handler>;
  Token token = std::forward<Handler>(handler);
  boost::asio::async_compose<Token, void(boost::beast::error_code)>(
      TakeRest{.socket = socket.next_layer()}, token, socket.next_layer());
}

}  // namespace fathom::ui
