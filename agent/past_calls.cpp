// Notices calls that are sent again for nothing.
#include "agent/past_calls.h"

#include <algorithm>

#include <fmt/format.h>

namespace fathom::agent {
namespace {

constexpr std::size_t kQuotedBytesMax = 100;

bool is_command(const tools::Outcome& outcome) {
  return outcome.exit.has_value();
}

// The outcome without what differs from run to run: a command's header holds its time.
std::string end_of(const tools::Outcome& outcome) {
  if (!is_command(outcome)) return outcome.text;
  const std::size_t body = std::min(outcome.text.find('\n'), outcome.text.size());
  return fmt::format("{}{}", *outcome.exit, outcome.text.substr(body));
}

// A line that tells one outcome from another: the last of a command, else the first.
std::string quoted(const tools::Outcome& outcome) {
  const std::string& text = outcome.text;
  const bool last = is_command(outcome);
  std::string line = last ? text.substr(text.rfind('\n') + 1) : text.substr(0, text.find('\n'));
  if (line.size() > kQuotedBytesMax) {
    std::size_t cut = kQuotedBytesMax;
    while (cut > 0 && (static_cast<unsigned char>(line[cut]) & 0xC0U) == 0x80U) --cut;
    line = line.substr(0, cut) + "…";
  }
  return fmt::format("{}\"{}\"", last ? fmt::format("exit {}, ", *outcome.exit) : "", line);
}

}  // namespace

std::optional<std::string> PastCalls::add(int step, const std::string& tool,
                                          const std::string& arguments,
                                          const tools::Outcome& outcome) {
  Past now{.step = step, .call = tool + '\n' + arguments, .end = end_of(outcome)};
  // One of the same step was sent before the model could read what came of it.
  const auto same = std::ranges::find_if(since_change_, [&](const Past& past) {
    return past.step < step && past.call == now.call && past.end == now.end;
  });
  if (same != since_change_.end()) {
    return fmt::format(
        "Same call, same outcome as in step {}, nothing changed since: {}. Do something different.",
        same->step, quoted(outcome));
  }
  // A command may have changed anything; what was seen before it need not hold any more.
  if (is_command(outcome) || !outcome.files.empty()) since_change_.clear();
  since_change_.push_back(std::move(now));
  return std::nullopt;
}

}  // namespace fathom::agent
