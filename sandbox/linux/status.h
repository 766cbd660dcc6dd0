// The status channel: one JSON object per line, on a descriptor the command never has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::sandbox {

// Builds one line. Texts are escaped; bytes that are not UTF-8 become "?".
class StatusLine {
 public:
  explicit StatusLine(std::string_view event);
  StatusLine& text(std::string_view name, std::string_view value);
  StatusLine& number(std::string_view name, std::int64_t value);
  StatusLine& seconds(std::string_view name, double value);
  StatusLine& texts(std::string_view name, const std::vector<std::string>& values);

  // Writes the line as long as the channel's 64 KiB last; the last event is always written.
  void send(int channel, bool last = false);

 private:
  void name(std::string_view value);
  std::string line_;
};

}  // namespace fathom::sandbox
