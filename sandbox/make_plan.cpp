// Checks a policy and fills in what depends on this machine and user.
#include "sandbox/make_plan.h"

#include <algorithm>
#include <array>
#include <system_error>

#include <fmt/format.h>

#include "sandbox/environment.h"
#include "sandbox/error.h"
#include "sandbox/git_settings.h"

namespace fathom::sandbox {
namespace {

using Path = std::filesystem::path;

// Folders whose place in the sandbox is taken.
constexpr std::array kSystemFolders = {"/bin",   "/boot", "/dev", "/etc",  "/lib", "/lib32",
                                       "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr"};
constexpr std::array kProgramFolders = {"/usr", "/bin", "/sbin", "/opt", "/nix", "/gnu"};
constexpr std::array kToolchains = {".cargo/bin", ".rustup", ".nvm", ".pyenv", "go", ".local/bin"};
// Files and folders in and just below a toolchain that hold credentials.
constexpr std::array kCredentials = {
    ".git",      ".git-credentials", ".netrc",           ".npmrc",           ".pypirc",
    "auth.json", "credentials",      "credentials.json", "credentials.toml", "settings.toml"};
constexpr std::size_t kRootsMax = 14;  // one message carries their mounts

bool contains(const Path& folder, const Path& path) {
  const Path below = path.lexically_relative(folder);
  return !below.empty() && *below.begin() != "..";
}

Path existing(const Path& path, const char* what) {
  std::error_code failed;
  Path found = std::filesystem::canonical(path, failed);
  if (failed) {
    throw Error(
        fmt::format("{} {}: {}; name an existing folder", what, path.string(), failed.message()));
  }
  return found;
}

// A folder to be shown at its own path must leave the rest of the root in place.
Path shown(const Path& path, const char* what, const Path& home) {
  Path found = existing(path, what);
  if (contains(found, home)) {
    throw Error(
        fmt::format("{} {} holds your home folder {}, and with it your secrets; name a "
                    "project folder",
                    what, found.string(), home.string()));
  }
  for (const char* folder : kSystemFolders) {
    if (contains(folder, found) || contains(found, folder)) {
      throw Error(
          fmt::format("{} {} is part of the system; name a project folder", what, found.string()));
    }
  }
  return found;
}

void add_toolchains(Plan& plan, const Path& home) {
  std::error_code none;
  for (const char* name : kToolchains) {
    const Path folder = home / name;
    // A link would show what it points to, which nobody chose.
    if (!std::filesystem::is_directory(std::filesystem::symlink_status(folder, none))) continue;
    plan.toolchains.push_back(folder.string());
    for (const char* credential : kCredentials) {
      if (std::filesystem::exists(std::filesystem::symlink_status(folder / credential, none))) {
        plan.masked.push_back((folder / credential).string());
      }
    }
  }
}

void check_limits(const Limits& limits) {
  const auto positive = [](const char* name, auto value) {
    if (!(value > 0))
      throw Error(fmt::format("limit {}: found {}, expected more than 0", name, value));
  };
  positive("memory", limits.memory_bytes);
  positive("processes", limits.processes);
  positive("file size", limits.file_bytes);
  positive("disk", limits.disk_bytes);
  positive("output", limits.output_bytes);
  positive("open files", limits.open_files);
  positive("time", limits.seconds);
}

Path start_folder(const Command& command, const Path& workspace) {
  if (command.directory.empty()) return workspace;
  Path folder = (workspace / command.directory).lexically_normal();
  return folder.has_filename() || folder == "/" ? folder : folder.parent_path();
}

}  // namespace

Plan make_plan(const Command& command, const Policy& policy) {
  const auto has_nul = [](const std::string& text) { return text.find('\0') != std::string::npos; };
  if (command.argv.empty() || command.argv.front().empty() ||
      std::ranges::any_of(command.argv, has_nul)) {
    throw Error("the command is empty or holds a NUL byte; expected a program and its arguments");
  }
  if (policy.read_roots.size() + policy.write_roots.size() > kRootsMax) {
    throw Error(fmt::format("{} read and write roots; at most {} can be shown",
                            policy.read_roots.size() + policy.write_roots.size(), kRootsMax));
  }
  check_limits(policy.limits);
  const Path home = home_folder();
  const Path workspace = shown(policy.workspace, "workspace", home);
  Plan plan;
  plan.argv = command.argv;
  plan.directory = start_folder(command, workspace).string();
  plan.workspace = workspace.string();
  plan.home = home.string();
  plan.limits = policy.limits;
  plan.writable = policy.profile == Profile::workspace_write;
  std::vector<Path> visible(kProgramFolders.begin(), kProgramFolders.end());
  for (const Path& root : policy.read_roots) {
    plan.read_roots.push_back(shown(root, "read root", home).string());
    visible.emplace_back(plan.read_roots.back());
  }
  for (const Path& root : policy.write_roots) {
    Path found = shown(root, "write root", home);
    if (plan.writable) {
      plan.write_roots.push_back(found.string());
    } else {
      plan.read_roots.push_back(found.string());
    }
  }
  add_toolchains(plan, home);
  for (const std::string& folder : plan.toolchains) visible.emplace_back(folder);
  plan.environment = build_environment(policy, home, visible);
  plan.git_settings = git_settings(home);
  return plan;
}

}  // namespace fathom::sandbox
