// Answers HTTP requests; knows no socket.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ui/server/trust.h"

namespace fathom::ui {

class Hub;

struct Request {
  std::string_view method;
  std::string_view target;  // path and query
  Credentials credentials;
  std::string_view if_none_match;
  std::string_view range;  // "bytes=0-99"
};

struct Response {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string body;
  std::string_view gzip;  // instead of body, with Content-Encoding
  std::string etag;
  std::string content_range;
};

// Headers of every answer: they let the page load its own files and nothing else.
const std::vector<std::pair<std::string, std::string>>& security_headers();

// An answer with a status that is an error, and why.
Response problem(int status, std::string_view message);

Response respond(const Request& request, Trust& trust, Hub& hub, Clock::time_point now);

}  // namespace fathom::ui
