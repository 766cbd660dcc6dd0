// The table of paths.
#include "ui/server/routes.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <limits>
#include <map>

#include <fmt/format.h>

#include "ui/hub.h"
#include "ui/server/page.h"
#include "ui/wire.h"

namespace fathom::ui {

namespace {

constexpr int kListMax = 200;
constexpr std::int64_t kLast = std::numeric_limits<std::int64_t>::max() - 1;

Response json(std::string body) {
  Response response;
  response.type = "application/json";
  response.body = std::move(body);
  return response;
}

Response text(std::string body) {
  Response response;
  response.body = std::move(body);
  return response;
}

std::string decoded(std::string_view encoded) {
  std::string out;
  for (std::size_t i = 0; i < encoded.size(); ++i) {
    const char* hex = encoded.data() + i + 1;
    unsigned value = 0;
    if (encoded[i] == '%' && i + 2 < encoded.size() &&
        std::from_chars(hex, hex + 2, value, 16).ptr == hex + 2) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += encoded[i] == '+' ? ' ' : encoded[i];
    }
  }
  return valid_utf8(out);
}

std::map<std::string, std::string> parse_query(std::string_view query) {
  std::map<std::string, std::string> values;
  while (!query.empty()) {
    const auto end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    const auto equals = std::min(pair.find('='), pair.size());
    values[decoded(pair.substr(0, equals))] =
        decoded(pair.substr(std::min(equals + 1, pair.size())));
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return values;
}

using Query = std::map<std::string, std::string>;

std::int64_t integer(const Query& query, const std::string& name, std::int64_t otherwise) {
  const auto found = query.find(name);
  if (found == query.end()) return otherwise;
  std::int64_t value = 0;
  const char* end = found->second.data() + found->second.size();
  const auto parsed = std::from_chars(found->second.data(), end, value);
  return parsed.ptr == end && parsed.ec == std::errc() ? std::max<std::int64_t>(0, value)
                                                       : otherwise;
}

int small_integer(const Query& query, const std::string& name, int otherwise) {
  constexpr std::int64_t kMax = 1'000'000'000;
  return static_cast<int>(std::min(integer(query, name, otherwise), kMax));
}

Response events(const LiveConversation& conversation, const Query& query) {
  std::int64_t from = integer(query, "from", 0);
  std::int64_t to = integer(query, "to", kLast);
  if (query.contains("from_step")) {
    from = conversation.first_event_of_step(small_integer(query, "from_step", 0));
  }
  if (query.contains("to_step")) {
    to = conversation.first_event_of_step(small_integer(query, "to_step", 0) + 1) - 1;
  }
  Response response = json(conversation.lines(from, to));
  response.type = "application/x-ndjson";
  return response;
}

// "/v1/conversations/ID/index" and "…/events".
Response conversation(std::string_view path, const Query& query, Hub& hub) {
  const auto slash = path.find('/');
  if (slash == std::string_view::npos) return problem(404, "There is nothing here.");
  const std::string_view what = path.substr(slash + 1);
  const auto found = hub.open(std::string(path.substr(0, slash)));
  if (!found) return problem(404, "There is no such conversation.");
  if (what == "index") return json(found->step_index());
  if (what == "events") return events(*found, query);
  return problem(404, "There is nothing here.");
}

// The part of `whole` that a Range header or from= and to= ask for.
Response part(const std::string& whole, const Request& request, const Query& query) {
  const auto size = static_cast<std::int64_t>(whole.size());
  std::int64_t from = integer(query, "from", 0);
  std::int64_t to = integer(query, "to", size);
  Response response;
  constexpr std::string_view kBytes = "bytes=";
  if (request.range.starts_with(kBytes) && !request.range.starts_with("bytes=-")) {
    const std::string_view range = request.range.substr(kBytes.size());
    const auto dash = std::min(range.find('-'), range.size());
    const Query bounds = {{"from", std::string(range.substr(0, dash))},
                          {"to", std::string(range.substr(std::min(dash + 1, range.size())))}};
    from = integer(bounds, "from", 0);
    to = std::min(integer(bounds, "to", size - 1), size - 1) + 1;
    if (from >= size) {
      response = problem(416, "The item is shorter.");
      response.content_range = fmt::format("bytes */{}", size);
      return response;
    }
    response.status = 206;
    response.content_range = fmt::format("bytes {}-{}/{}", from, std::max(from, to - 1), size);
  }
  from = std::min(from, size);
  to = std::clamp(to, from, size);
  response.body = whole.substr(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from));
  return response;
}

Response item(std::string_view name, const Request& request, const Query& query, Hub& hub) {
  const auto id = query.find("conversation");
  const auto found = id == query.end() ? nullptr : hub.open(id->second);
  if (!found) return problem(404, "Name the item's conversation: ?conversation=ID.");
  const auto whole = found->item_text(std::string(name));
  return whole ? part(*whole, request, query) : problem(404, "There is no such item.");
}

Response api(std::string_view path, const Query& query, const Request& request, Hub& hub) {
  constexpr std::string_view kConversations = "/v1/conversations";
  constexpr std::string_view kItems = "/v1/items/";
  if (path == kConversations) {
    const auto words = query.find("query");
    return json(hub.list(words == query.end() ? "" : words->second,
                         small_integer(query, "cursor", 0),
                         std::min(small_integer(query, "limit", 50), kListMax)));
  }
  if (path.starts_with(kConversations) && path[kConversations.size()] == '/') {
    return conversation(path.substr(kConversations.size() + 1), query, hub);
  }
  if (path.starts_with(kItems)) return item(path.substr(kItems.size()), request, query, hub);
  return problem(404, "There is nothing here.");
}

Response page(const PageFile& file, const Request& request) {
  Response response;
  response.etag = file.etag;
  response.type = file.type;
  if (request.if_none_match == file.etag) {
    response.status = 304;
  } else {
    response.gzip = file.gzip;
  }
  return response;
}

}  // namespace

Response problem(int status, std::string_view message) {
  Response response;
  response.status = status;
  response.type = "application/json";
  response.body =
      fmt::format(R"({{"error":{{"code":"http.{}","message":{}}}}})", status, json_string(message));
  return response;
}

const std::vector<std::pair<std::string, std::string>>& security_headers() {
  static const std::vector<std::pair<std::string, std::string>> kHeaders = {
      {"Content-Security-Policy",
       "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
       "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
       "require-trusted-types-for 'script'"},
      {"Referrer-Policy", "no-referrer"},
      {"X-Content-Type-Options", "nosniff"},
      {"Cross-Origin-Opener-Policy", "same-origin"},
      {"Cross-Origin-Resource-Policy", "same-origin"},
      {"Cache-Control", "no-cache"}};
  return kHeaders;
}

Response respond(const Request& request, Trust& trust, Hub& hub, Clock::time_point now) {
  const auto question = std::min(request.target.find('?'), request.target.size());
  const std::string_view path = request.target.substr(0, question);
  const auto file = page_file(path);
  const bool open_to_all = file.has_value() || path == "/health";

  const Verdict verdict =
      open_to_all ? trust.admit_public(request.credentials) : trust.admit(request.credentials, now);
  if (verdict.status != 200) return problem(verdict.status, verdict.reason);
  if (request.method != "GET" && request.method != "HEAD") {
    return problem(405, "Only GET is answered here.");
  }
  if (path == "/health") return text("ok\n");
  if (file) return page(*file, request);
  if (path == "/ws") return problem(426, "This is a WebSocket.");
  const Query query =
      parse_query(request.target.substr(std::min(question + 1, request.target.size())));
  try {
    return api(path, query, request, hub);
  } catch (const std::exception& error) {
    // One damaged conversation must not keep the others from working.
    return problem(500, error.what());
  }
}

}  // namespace fathom::ui
