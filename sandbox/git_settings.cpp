// Reads two values of ~/.gitconfig without running git, which would obey the rest of it.
#include "sandbox/git_settings.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include <fmt/format.h>

namespace fathom::sandbox {
namespace {

constexpr int kLinesMax = 2000;

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// A value that needs no quoting, or nothing.
std::string plain(std::string_view value) {
  const bool odd = std::ranges::any_of(value, [](char c) {
    return c == '"' || c == '\\' || c == '#' || c == ';' || static_cast<unsigned char>(c) < ' ';
  });
  return odd || value.size() > 200 ? std::string() : std::string(value);
}

}  // namespace

std::string git_settings(const std::filesystem::path& home) {
  const char* user = std::getenv("USER");
  std::string fallback = user == nullptr ? "" : plain(user);
  if (fallback.empty()) fallback = "user";
  std::string name;
  std::string email;
  std::ifstream file(home / ".gitconfig");
  bool in_user = false;
  std::string line;
  for (int count = 0; count < kLinesMax && std::getline(file, line); ++count) {
    const std::string_view text = trim(line);
    if (text.starts_with('[')) in_user = text == "[user]";
    const std::size_t equals = text.find('=');
    if (!in_user || equals == std::string_view::npos) continue;
    const std::string_view key = trim(text.substr(0, equals));
    if (key == "name") name = plain(trim(text.substr(equals + 1)));
    if (key == "email") email = plain(trim(text.substr(equals + 1)));
  }
  return fmt::format("[user]\n\tname = {}\n\temail = {}\n", name.empty() ? fallback : name,
                     email.empty() ? fallback + "@localhost" : email);
}

}  // namespace fathom::sandbox
