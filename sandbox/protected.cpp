// Compares path parts without regard to case: some file systems do not tell ".GIT" from ".git".
#include "sandbox/protected.h"

#include <algorithm>

namespace fathom::sandbox {
namespace {

char lower(char c) noexcept {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

bool same_name(std::string_view a, std::string_view b) noexcept {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool is_protected_name(std::string_view name) noexcept {
  return same_name(name, ".git") || is_obeyed(name);
}

}  // namespace

bool is_obeyed(std::string_view name) noexcept {
  return std::ranges::any_of(kObeyedNames, [&](const char* n) { return same_name(name, n); });
}

bool is_protected(std::string_view path) noexcept {
  while (!path.empty()) {
    const std::size_t slash = path.find('/');
    if (is_protected_name(path.substr(0, slash))) return true;
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return false;
}

}  // namespace fathom::sandbox
