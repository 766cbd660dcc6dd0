// The task of a run.
#include "ui/commands/prompt_input.h"

#include <array>
#include <cerrno>
#include <functional>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::ui {
namespace {

// More would not be a task but a file: it belongs into the workspace.
constexpr std::size_t kInputMax = 1 << 20;

// A pipe that nobody writes to and nobody closes (some programs start us so) must not hang us.
constexpr int kFirstByteMs = 3'000;

bool is_pipe_or_file() {
  struct stat about = {};
  if (::fstat(STDIN_FILENO, &about) != 0) return false;
  return S_ISFIFO(about.st_mode) || S_ISREG(about.st_mode) || S_ISSOCK(about.st_mode);
}

// Standard input, until it ends or a stop is requested.
class Input {
 public:
  explicit Input(std::stop_token stop)
      : stopped_(::eventfd(0, EFD_CLOEXEC)),
        wake_(std::move(stop), [this] { ::eventfd_write(stopped_, 1); }) {}
  ~Input() { ::close(stopped_); }
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  // False when nothing came within the time (-1: however long), or the stop.
  bool wait(int timeout_ms) const {
    std::array<pollfd, 2> ends = {{{STDIN_FILENO, POLLIN, 0}, {stopped_, POLLIN, 0}}};
    int count = 0;
    while ((count = ::poll(ends.data(), ends.size(), timeout_ms)) < 0 && errno == EINTR) {
    }
    return count > 0 && ends[1].revents == 0;
  }

 private:
  const int stopped_;
  std::stop_callback<std::function<void()>> wake_;  // last: it uses stopped_
};

std::string read_all(const Input& input) {
  std::string text(kInputMax, '\0');
  std::size_t size = 0;
  while (size < text.size() && input.wait(-1)) {
    const ssize_t count = ::read(STDIN_FILENO, text.data() + size, text.size() - size);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    size += static_cast<std::size_t>(count);
  }
  text.resize(size);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace

tl::expected<std::string, std::string> read_prompt(const std::string& argument,
                                                   std::stop_token stop) {
  const Input input(std::move(stop));
  if (argument == "-") {
    std::string text = ::isatty(STDIN_FILENO) == 1 ? "" : read_all(input);
    if (text.empty()) return tl::unexpected<std::string>("standard input holds no task");
    return text;
  }
  if (argument.empty()) {
    return tl::unexpected<std::string>(
        "there is no task: give it as fathom run \"…\", or - to read it from standard input");
  }
  if (!is_pipe_or_file() || !input.wait(kFirstByteMs)) return argument;
  const std::string more = read_all(input);
  return more.empty() ? argument : fmt::format("{}\n\n<stdin>\n{}\n</stdin>", argument, more);
}

}  // namespace fathom::ui
