// Makes, keeps and reads access tokens.
#include "ui/server/tokens.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::ui {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kTokenCharactersMin = 32;

std::string random_token() {
  constexpr const char* kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::array<unsigned char, 33> bytes{};  // 264 bits: a multiple of both 8 and 6
  if (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    throw std::runtime_error("the system gives no random bytes for an access token");
  }
  std::string token;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const unsigned three = static_cast<unsigned>(bytes[i]) << 16U |
                           static_cast<unsigned>(bytes[i + 1]) << 8U | bytes[i + 2];
    for (const unsigned shift : {18U, 12U, 6U, 0U}) token += kAlphabet[three >> shift & 63U];
  }
  return token;
}

[[noreturn]] void fail(const fs::path& file, const char* what) {
  throw std::runtime_error(fmt::format("{} {}: {}", what, file.string(), std::strerror(errno)));
}

// Written beside and renamed, so that no reader and no crash meets half a file.
void write_tokens(const fs::path& file, const Tokens& tokens) {
  fs::create_directories(file.parent_path());
  ::chmod(file.parent_path().c_str(), S_IRWXU);
  const fs::path fresh = file.string() + ".new";
  ::unlink(fresh.c_str());
  const int fd = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                        S_IRUSR | S_IWUSR);
  if (fd < 0) fail(fresh, "cannot create");
  const std::string text = fmt::format("control {}\nview {}\n", tokens.control, tokens.view);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::close(fd);
  if (!written || ::rename(fresh.c_str(), file.c_str()) != 0) fail(file, "cannot write");
}

Tokens read_tokens(const fs::path& file) {
  Tokens tokens;
  std::ifstream in(file);
  std::string role;
  std::string token;
  while (in >> role >> token) {
    if (token.size() < kTokenCharactersMin) continue;
    if (role == "control") tokens.control = token;
    if (role == "view") tokens.view = token;
  }
  return tokens;
}

}  // namespace

fs::path tokens_path() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return fs::path(state) / "fathom" / "serve-tokens";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr ? home : "/") / ".local/state/fathom/serve-tokens";
}

Tokens load_tokens(const fs::path& file, bool renew) {
  Tokens tokens = renew ? Tokens{} : read_tokens(file);
  if (tokens.control.empty() || tokens.view.empty()) {
    if (tokens.control.empty()) tokens.control = random_token();
    if (tokens.view.empty()) tokens.view = random_token();
    write_tokens(file, tokens);
  }
  const char* given = std::getenv("FATHOM_SERVE_TOKEN");
  if (given == nullptr || *given == '\0') return tokens;
  const std::string token = given;
  constexpr const char* kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  if (token.size() < kTokenCharactersMin || token.find_first_not_of(kAllowed) != token.npos) {
    throw std::runtime_error(
        "FATHOM_SERVE_TOKEN needs at least 32 characters of A-Z, a-z, 0-9, - and _");
  }
  tokens.control = token;
  return tokens;
}

}  // namespace fathom::ui
