// Serves the page and its WebSocket over plain HTTP, by Boost.Beast.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fathom::ui {

class Hub;

// Secrets that open the server: all of it, or only for watching. 256 random bits, base64url.
struct Tokens {
  std::string control;
  std::string view;
};

struct ServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 7777;         // 0: a free one
  std::vector<std::string> hosts;    // further names the Host header may carry
  std::vector<std::string> origins;  // further allowed origins
  Tokens tokens;
  bool insecure_plain_http = false;  // allows an address that is not loopback
};

class Server {
 public:
  // Listens from here on. Throws std::invalid_argument if the address is none, or is not loopback
  // and `insecure_plain_http` is not set; std::runtime_error if it cannot be bound.
  Server(ServerOptions options, Hub& hub);
  ~Server();

  std::uint16_t port() const;

  // Serves on the calling thread until SIGINT, SIGTERM or stop(); then lets the running turn
  // end, and closes every connection with 4503.
  void run();
  void stop();  // from any thread

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace fathom::ui
