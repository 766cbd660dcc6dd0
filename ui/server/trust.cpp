// The rules of trust.
#include "ui/server/trust.h"

#include <algorithm>

#include <fmt/format.h>

namespace fathom::ui {

namespace {

constexpr std::size_t kWrongTokensMax = 10;
constexpr std::chrono::minutes kWrongTokensWithin{1};
constexpr std::chrono::minutes kClosedFor{1};

constexpr std::string_view kBearer = "Bearer ";
constexpr std::string_view kTokenProtocol = "k.";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string_view token_of(const Credentials& credentials) {
  if (credentials.authorization.starts_with(kBearer)) {
    return trimmed(credentials.authorization.substr(kBearer.size()));
  }
  std::string_view rest = credentials.subprotocols;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    const std::string_view protocol = trimmed(rest.substr(0, comma));
    if (protocol.starts_with(kTokenProtocol)) return protocol.substr(kTokenProtocol.size());
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  return {};
}

}  // namespace

bool is_loopback(std::string_view address) {
  return address.starts_with("127.") || address == "::1" || address == "localhost";
}

bool equal_secrets(std::string_view a, std::string_view b) noexcept {
  // The length of a token is no secret; an empty one never opens.
  if (a.size() != b.size() || a.empty()) return false;
  unsigned difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

Trust::Trust(const ServerOptions& options, std::uint16_t port)
    : tokens_(options.tokens), origins_(options.origins) {
  for (const char* name : {"127.0.0.1", "localhost", "[::1]"}) {
    hosts_.push_back(fmt::format("{}:{}", name, port));
  }
  const bool v6 = options.address.find(':') != std::string::npos;
  hosts_.push_back(fmt::format(fmt::runtime(v6 ? "[{}]:{}" : "{}:{}"), options.address, port));
  for (const std::string& host : options.hosts) {
    hosts_.push_back(host);
    hosts_.push_back(fmt::format("{}:{}", host, port));
  }
  for (const std::string& host : hosts_) origins_.push_back("http://" + host);
}

bool Trust::host_allowed(std::string_view host) const {
  return std::ranges::find(hosts_, host) != hosts_.end();
}

bool Trust::origin_allowed(std::string_view origin) const {
  return std::ranges::find(origins_, origin) != origins_.end();
}

Verdict Trust::admit_public(const Credentials& credentials) const {
  if (!host_allowed(credentials.host)) {
    return {.status = 403, .role = Role::view, .reason = "This Host is not served here."};
  }
  if (credentials.origin && !origin_allowed(*credentials.origin)) {
    return {.status = 403, .role = Role::view, .reason = "This Origin is not allowed."};
  }
  return {};
}

Verdict Trust::admit(const Credentials& credentials, Clock::time_point now) {
  if (const Verdict verdict = admit_public(credentials); verdict.status != 200) return verdict;
  if (!credentials.origin && !credentials.authorization.starts_with(kBearer)) {
    return {
        .status = 403, .role = Role::view, .reason = "Without Origin, a Bearer token is needed."};
  }
  if (now < closed_until_) {
    return {.status = 429, .role = Role::view, .reason = "Too many wrong tokens. Wait a minute."};
  }
  const std::string_view token = token_of(credentials);
  // Both comparisons are always made, so that time tells nothing about either.
  const bool control = equal_secrets(token, tokens_.control);
  const bool view = equal_secrets(token, tokens_.view);
  if (control) return {.status = 200, .role = Role::control, .reason = {}};
  if (view) return {.status = 200, .role = Role::view, .reason = {}};
  if (token.empty()) return {.status = 401, .role = Role::view, .reason = "A token is needed."};

  while (!wrong_.empty() && now - wrong_.front() > kWrongTokensWithin) wrong_.pop_front();
  wrong_.push_back(now);
  if (wrong_.size() >= kWrongTokensMax) {
    wrong_.clear();
    closed_until_ = now + kClosedFor;
  }
  return {.status = 401, .role = Role::view, .reason = "This token is not valid."};
}

}  // namespace fathom::ui
