// The table of what every call sees.
#include "sandbox/linux/layout.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>

#include <sys/stat.h>
#include <unistd.h>

namespace fathom::sandbox {
namespace {

// Programs, libraries and settings; all read-only. What else the machine has does not exist.
constexpr std::array kSystem = {"usr",    "bin", "sbin", "lib", "lib32", "lib64",
                                "libx32", "etc", "opt",  "nix", "gnu"};

constexpr std::array kDevices = {"null", "zero", "full", "random", "urandom", "tty"};

constexpr std::array kLinks = {
    std::array{"dev/fd", "/proc/self/fd"},       std::array{"dev/stdin", "/proc/self/fd/0"},
    std::array{"dev/stdout", "/proc/self/fd/1"}, std::array{"dev/stderr", "/proc/self/fd/2"},
    std::array{"dev/ptmx", "pts/ptmx"},          std::array{"var/tmp", "/tmp"}};

// Secrets of the machine. Permissions hide them from nearly everyone; from someone in the wrong
// group they do not.
constexpr std::array kSecrets = {
    "etc/shadow",  "etc/shadow-",   "etc/gshadow",     "etc/gshadow-",
    "etc/sudoers", "etc/sudoers.d", "etc/ssl/private", "etc/kubernetes",
    "etc/docker",  "etc/wireguard", "etc/krb5.keytab", "etc/NetworkManager/system-connections"};

std::string below_root(const std::string& path) {
  return path.substr(1);
}

bool is_folder(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

void add_system(Layout& layout) {
  for (const char* name : kSystem) {
    const std::string path = std::string("/") + name;
    std::error_code none;
    const std::filesystem::file_status status = std::filesystem::symlink_status(path, none);
    if (std::filesystem::is_symlink(status)) {
      layout.symlinks.push_back({std::filesystem::read_symlink(path, none).string(), name});
    } else if (std::filesystem::is_directory(status)) {
      layout.binds.push_back({.source = path, .target = name});
    }
  }
  for (const auto& link : kLinks) layout.symlinks.push_back({link[1], link[0]});
  for (const char* device : kDevices) {
    if (::access((std::string("/dev/") + device).c_str(), F_OK) == 0) {
      layout.devices.emplace_back(device);
    }
  }
}

void add_policy(Layout& layout, const Plan& plan, const Ids& ids) {
  const auto add = [&](const std::string& path, bool writable, bool guarded) {
    layout.binds.push_back({.source = path,
                            .target = below_root(path),
                            .writable = writable,
                            .directory = is_folder(path),
                            .passed = ids.privileged,
                            .idmapped = guarded && ids.idmapped,
                            .guarded = guarded});
  };
  // Toolchains keep their owner: what only root may read in root's HOME stays unread.
  for (const std::string& path : plan.toolchains) add(path, /*writable=*/false, false);
  for (const std::string& path : plan.read_roots) add(path, /*writable=*/false, true);
  for (const std::string& path : plan.write_roots) add(path, /*writable=*/true, true);
  add(plan.workspace, plan.writable, true);
}

}  // namespace

Layout make_layout(const Plan& plan, const Ids& ids) {
  Layout layout;
  layout.home = below_root(plan.home);
  add_system(layout);
  add_policy(layout, plan, ids);
  // A folder before what lies in it.
  std::ranges::stable_sort(layout.binds, {},
                           [](const Bind& bind) { return std::ranges::count(bind.target, '/'); });
  for (const char* secret : kSecrets) {
    if (::access((std::string("/") + secret).c_str(), F_OK) == 0) {
      layout.masked.emplace_back(secret);
    }
  }
  for (const std::string& path : plan.masked) layout.masked.push_back(below_root(path));
  return layout;
}

std::vector<std::string> find_programs(const Plan& plan) {
  const std::string& name = plan.argv.front();
  if (name.find('/') != std::string::npos) return {name};
  std::vector<std::string> programs;
  for (const std::string& variable : plan.environment) {
    std::string_view folders = variable;
    if (!folders.starts_with("PATH=")) continue;
    folders.remove_prefix(5);
    while (!folders.empty()) {
      const std::size_t colon = std::min(folders.find(':'), folders.size());
      programs.push_back(std::string(folders.substr(0, colon)) + "/" + name);
      folders.remove_prefix(std::min(colon + 1, folders.size()));
    }
  }
  return programs;
}

}  // namespace fathom::sandbox
