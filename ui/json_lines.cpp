// The event stream as JSON lines on a descriptor.
#include "ui/json_lines.h"

#include <cerrno>
#include <string>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace fathom::ui {

bool write_all(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EAGAIN) {
      pollfd ready = {.fd = descriptor, .events = POLLOUT, .revents = 0};
      ::poll(&ready, 1, /*timeout=*/-1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

JsonLines::JsonLines(int descriptor, JsonLinesKind kind, bool deltas,
                     std::function<void()> on_closed)
    : descriptor_(descriptor), kind_(kind), deltas_(deltas), on_closed_(std::move(on_closed)) {}

void JsonLines::write(const nlohmann::ordered_json& line) {
  if (closed_) return;
  using Replace = nlohmann::ordered_json::error_handler_t;
  if (write_all(descriptor_, line.dump(-1, ' ', /*ensure_ascii=*/false, Replace::replace) + "\n")) {
    return;
  }
  closed_ = true;
  if (on_closed_) on_closed_();
}

void JsonLines::event(const agent::Event& event) {
  if (kind_ == JsonLinesKind::all || event.type == "result") write(event.json());
}

void JsonLines::delta(const agent::Delta& delta) {
  if (!deltas_ || kind_ == JsonLinesKind::result) return;
  if (delta.kind == "output") {
    write({{"v", 1},
           {"type", "output"},
           {"turn", delta.turn},
           {"step", delta.step},
           {"call", delta.call},
           {"stream", "out"},
           {"at", delta.at},
           {"text", delta.text}});
    return;
  }
  write({{"v", 1},
         {"type", "delta"},
         {"item", delta.item},
         {"kind", delta.kind},
         {"turn", delta.turn},
         {"step", delta.step},
         {"at", delta.at},
         {"text", delta.text}});
}

}  // namespace fathom::ui
