// The task of a run.
#include "ui/commands/prompt_input.h"

#include <cerrno>

#include <poll.h>
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

bool anything_comes() {
  pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  return ::poll(&input, 1, kFirstByteMs) > 0;
}

std::string read_input() {
  std::string text(kInputMax, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
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

tl::expected<std::string, std::string> read_prompt(const std::string& argument) {
  if (argument == "-") {
    std::string text = ::isatty(STDIN_FILENO) == 1 ? "" : read_input();
    if (text.empty()) return tl::unexpected<std::string>("standard input holds no task");
    return text;
  }
  if (argument.empty()) {
    return tl::unexpected<std::string>(
        "there is no task: give it as fathom run \"…\", or - to read it from standard input");
  }
  if (!is_pipe_or_file() || !anything_comes()) return argument;
  const std::string input = read_input();
  return input.empty() ? argument : fmt::format("{}\n\n<stdin>\n{}\n</stdin>", argument, input);
}

}  // namespace fathom::ui
