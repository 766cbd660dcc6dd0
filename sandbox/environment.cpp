// Names and values of the environment.
#include "sandbox/environment.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include <pwd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "sandbox/error.h"

namespace fathom::sandbox {
namespace {

constexpr std::array kStandardFolders = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                         "/usr/bin",        "/sbin",          "/bin"};

// Parts of names that say: a secret.
constexpr std::array kSecretParts = {"KEY",    "TOKEN",      "SECRET", "PASSWORD",
                                     "PASSWD", "CREDENTIAL", "AUTH",   "COOKIE"};
// Names with which the loader, a shell, an interpreter, git or a desktop would do other things.
constexpr std::array kSteeringPrefixes = {"LD_", "PERL5", "GIT_", "DBUS_", "DOCKER_", "WAYLAND_"};
constexpr std::array kSteeringSuffixes = {"_OPTIONS", "_SOCK"};
constexpr std::array kSteeringNames = {"BASH_ENV", "ENV",     "PYTHONSTARTUP", "PATH",
                                       "HOME",     "DISPLAY", "XAUTHORITY",    "IFS"};

std::string upper(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  });
  return out;
}

bool is_refused(std::string_view given) {
  const std::string name = upper(given);
  const auto in_name = [&](const char* part) { return name.find(part) != std::string::npos; };
  return std::ranges::any_of(kSecretParts, in_name) ||
         std::ranges::any_of(kSteeringPrefixes,
                             [&](const char* p) { return name.starts_with(p); }) ||
         std::ranges::any_of(kSteeringSuffixes, [&](const char* s) { return name.ends_with(s); }) ||
         std::ranges::any_of(kSteeringNames, [&](const char* n) { return name == n; });
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

bool is_below(const std::filesystem::path& path, const std::filesystem::path& folder) {
  const std::filesystem::path below = path.lexically_relative(folder);
  return !below.empty() && *below.begin() != "..";
}

// A folder that a command could write must not come before the system's, so none is taken.
std::string search_path(const std::vector<std::filesystem::path>& visible) {
  std::vector<std::string> folders;
  const auto add = [&](const std::string& folder) {
    std::error_code none;
    const std::filesystem::path path = std::filesystem::path(folder).lexically_normal();
    const bool shown =
        std::ranges::any_of(visible, [&](const auto& root) { return is_below(path, root); });
    if (shown && path.is_absolute() && std::ranges::find(folders, folder) == folders.end() &&
        std::filesystem::is_directory(path, none)) {
      folders.push_back(folder);
    }
  };
  const std::string own = variable("PATH");
  for (std::size_t begin = 0; begin < own.size();) {
    const std::size_t end = std::min(own.find(':', begin), own.size());
    add(own.substr(begin, end - begin));
    begin = end + 1;
  }
  for (const char* folder : kStandardFolders) add(folder);
  return fmt::format("{}", fmt::join(folders, ":"));
}

bool is_plain(std::string_view value) {
  return value.size() < 256 && std::ranges::all_of(value, [](char c) { return c >= ' '; });
}

}  // namespace

std::filesystem::path home_folder() {
  std::string home = variable("HOME");
  if (home.empty() || home.front() != '/') {
    std::array<char, 4096> space{};
    passwd entry{};
    passwd* found = nullptr;
    if (::getpwuid_r(::geteuid(), &entry, space.data(), space.size(), &found) == 0 &&
        found != nullptr) {
      home = found->pw_dir;
    }
  }
  std::error_code none;
  const std::filesystem::path path = std::filesystem::weakly_canonical(home, none);
  return none || home.empty() || path == "/" ? "/home/user" : path;
}

std::vector<std::string> build_environment(const Policy& policy, const std::filesystem::path& home,
                                           const std::vector<std::filesystem::path>& visible) {
  std::map<std::string, std::string> all = {
      {"PATH", search_path(visible)},
      {"HOME", home.string()},
      {"TMPDIR", "/tmp"},
      {"SHELL", std::filesystem::exists("/bin/bash") ? "/bin/bash" : "/bin/sh"},
      {"TERM", "dumb"},
      {"PAGER", "cat"},
      {"GIT_PAGER", "cat"},
      {"CI", "1"},
      {"FATHOM", "1"},
      // A cache file beside the source would be newer than the next edit within the same second.
      {"PYTHONDONTWRITEBYTECODE", "1"}};
  for (const char* name : {"LANG", "LC_ALL", "LC_CTYPE", "LC_COLLATE", "LC_MESSAGES", "LC_NUMERIC",
                           "LC_TIME", "TZ", "USER", "LOGNAME"}) {
    const std::string value = variable(name);
    if (!value.empty() && is_plain(value)) all[name] = value;
  }
  if (!all.contains("USER")) all["USER"] = "user";
  for (const auto& [name, value] : policy.environment) {
    if (name.empty() || name.find('=') != std::string::npos ||
        (name + value).find('\0') != std::string::npos) {
      throw Error(fmt::format("environment variable {}: expected a name without =", name));
    }
    if (is_refused(name)) {
      throw Error(
          fmt::format("environment variable {}: names of secrets and names that steer "
                      "programs are not passed into the sandbox",
                      name));
    }
    all[name] = value;
  }
  std::vector<std::string> list;
  for (const auto& [name, value] : all) list.push_back(name + "=" + value);
  return list;
}

}  // namespace fathom::sandbox
