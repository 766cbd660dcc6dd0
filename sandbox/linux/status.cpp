// JSON by hand: the helper is small and writes five kinds of lines.
#include "sandbox/linux/status.h"

#include <cerrno>
#include <cstdio>

#include <unistd.h>

namespace fathom::sandbox {
namespace {

constexpr std::size_t kChannelBytesMax = 64 * 1024;
constexpr std::size_t kKeptForLast = 1024;

std::string quoted(std::string_view value) {
  std::string out = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += byte < 0x80 ? c : '?';
    }
  }
  return out + "\"";
}

}  // namespace

StatusLine::StatusLine(std::string_view event) : line_("{\"ev\":" + quoted(event)) {}

void StatusLine::name(std::string_view value) {
  line_ += "," + quoted(value) + ":";
}

StatusLine& StatusLine::text(std::string_view key, std::string_view value) {
  name(key);
  line_ += quoted(value);
  return *this;
}

StatusLine& StatusLine::number(std::string_view key, std::int64_t value) {
  name(key);
  line_ += std::to_string(value);
  return *this;
}

StatusLine& StatusLine::seconds(std::string_view key, double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value);
  name(key);
  line_ += text;
  return *this;
}

StatusLine& StatusLine::texts(std::string_view key, const std::vector<std::string>& values) {
  name(key);
  line_ += '[';
  for (const std::string& value : values) {
    line_ += (line_.back() == '[' ? "" : ",") + quoted(value);
  }
  line_ += ']';
  return *this;
}

void StatusLine::send(int channel, bool last) {
  static std::size_t sent = 0;
  line_ += "}\n";
  if (!last && sent + line_.size() + kKeptForLast > kChannelBytesMax) return;
  sent += line_.size();
  std::string_view rest = line_;
  while (!rest.empty()) {
    const ssize_t wrote = ::write(channel, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return;  // nobody listens any more
    rest.remove_prefix(static_cast<std::size_t>(wrote));
  }
}

}  // namespace fathom::sandbox
