// Decides whether a request may be answered: Host, then Origin, then token, in that order.
//
// Host keeps out pages of other names that were made to resolve to this machine; Origin keeps out
// pages of other sites; the token keeps out everyone who was not given the printed URL, other
// programs and users of this machine included.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ui/server.h"
#include "ui/server/connection.h"

namespace fathom::ui {

// The headers that trust is decided by; absent ones are empty.
struct Credentials {
  std::string_view host;
  std::optional<std::string_view> origin;
  std::string_view authorization;  // "Bearer TOKEN"
  std::string_view subprotocols;   // "fathom.v1, k.TOKEN"
};

struct Verdict {
  int status = 200;  // else what the request is answered with: 401, 403, 429
  Role role = Role::view;
  std::string_view reason;
};

// Used by one thread.
class Trust {
 public:
  Trust(const ServerOptions& options, std::uint16_t port);

  // For what needs no token: the page, its files and /health.
  Verdict admit_public(const Credentials& credentials) const;

  // For everything else. Ten wrong tokens within a minute close the door for a minute.
  Verdict admit(const Credentials& credentials, Clock::time_point now);

 private:
  bool host_allowed(std::string_view host) const;
  bool origin_allowed(std::string_view origin) const;

  const Tokens tokens_;
  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
  std::deque<Clock::time_point> wrong_;
  Clock::time_point closed_until_{};
};

bool is_loopback(std::string_view address);

// True if both are equal; takes the same time wherever they differ.
bool equal_secrets(std::string_view a, std::string_view b) noexcept;

}  // namespace fathom::ui
