// Walks the folders of a workspace from the top down.
//
// A walk over all of a large one would cost every call more than starting it. Obeyed names
// matter most where tools look for them: in the workspace's own folder and in the roots of
// repositories and packages near it. So the walk goes breadth first, and a number of folders ends
// it.
#include "sandbox/guards.h"

#include <algorithm>
#include <deque>
#include <system_error>

#include <sys/stat.h>

#include "sandbox/protected.h"
#include "sandbox/workspace.h"

namespace fathom::sandbox {
namespace {

constexpr int kFoldersMax = 400;  // about a millisecond
constexpr int kModulesDepthMax = 8;

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

class Finder {
 public:
  explicit Finder(const std::filesystem::path& root) : workspace_(root) {
    names_.root = workspace_.root().string();
  }

  GuardedNames find() {
    ::clock_gettime(CLOCK_REALTIME_COARSE, &names_.began);
    std::deque<std::string> waiting = {""};
    for (int seen = 0; !waiting.empty() && seen < kFoldersMax; ++seen) {
      const std::string folder = waiting.front();
      waiting.pop_front();
      const auto entries = workspace_.list(folder);
      if (!entries) continue;
      look_at(folder, *entries);
      for (const Entry& entry : *entries) {
        if (entry.kind == Entry::Kind::directory && !is_protected(entry.path)) {
          waiting.push_back(entry.path);
        }
      }
    }
    names_.complete = waiting.empty();
    return std::move(names_);
  }

 private:
  void look_at(const std::string& folder, const std::vector<Entry>& entries) {
    const auto has = [&](const std::string& path) {
      return std::ranges::find(entries, path, &Entry::path) != entries.end();
    };
    for (const char* name : kObeyedNames) note(join(folder, name), has(join(folder, name)));
    for (const Entry& entry : entries) {
      if (entry.kind == Entry::Kind::other && is_socket(entry.path)) {
        guard({.path = entry.path, .socket = true});
      }
    }
    const std::string git = join(folder, ".git");
    const auto found = std::ranges::find(entries, git, &Entry::path);
    if (found == entries.end()) return;
    if (found->kind != Entry::Kind::directory) {
      note(git, /*present=*/true);  // a worktree's or submodule's pointer to its git directory
      return;
    }
    guard({.path = git, .read_only = false});
    add_git_directory(git);
    add_modules(join(git, "modules"), 0);
    const auto worktrees = workspace_.list(join(git, "worktrees"));
    for (const Entry& each : worktrees.value_or(std::vector<Entry>())) {
      check(join(each.path, "config.worktree"));
      check(join(each.path, "commondir"));
    }
  }

  void add_git_directory(const std::string& folder) {
    for (const char* name : kGitNames) check(join(folder, name));
  }

  // Submodules have git directories of their own, which may again have submodules; the name of a
  // submodule may hold slashes.
  void add_modules(const std::string& folder, int depth) {
    const auto entries = workspace_.list(folder);
    if (!entries || depth == kModulesDepthMax) return;
    for (const Entry& entry : *entries) {
      if (entry.kind != Entry::Kind::directory) continue;
      if (workspace_.stat(join(entry.path, "HEAD"))) {
        add_git_directory(entry.path);
        add_modules(join(entry.path, "modules"), depth + 1);
      } else {
        add_modules(entry.path, depth + 1);
      }
    }
  }

  bool is_socket(const std::string& path) const {
    struct stat status {};
    const std::filesystem::path whole = workspace_.root() / path;
    return ::lstat(whole.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
  }

  void check(const std::string& path) { note(path, workspace_.stat(path).has_value()); }

  // Whoever obeys a name that is a link obeys what it leads to.
  void guard_target(const std::string& path) {
    std::error_code dangling;
    const std::filesystem::path name = workspace_.root() / path;
    const std::filesystem::path target = std::filesystem::canonical(name, dangling);
    if (dangling || target == name) return;
    const std::string below = target.lexically_relative(workspace_.root()).string();
    if (below != "." && !below.starts_with("..")) guard({.path = below});
  }

  void guard(Guard guard) {
    guard.root = names_.root;
    names_.present.push_back(std::move(guard));
  }

  void note(const std::string& path, bool present) {
    if (present) {
      guard({.path = path});
      guard_target(path);
    } else {
      names_.absent.push_back(path);
    }
  }

  Workspace workspace_;
  GuardedNames names_;
};

// Whether a name was made, renamed or changed at `moment` or later. Its change time says so: no
// command can set that back. A file system that keeps whole seconds is asked for no more.
bool changed_since(const std::filesystem::path& path, const timespec& moment) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return true;  // set_aside() will see
  const timespec& changed = status.st_ctim;
  if (changed.tv_sec != moment.tv_sec) return changed.tv_sec > moment.tv_sec;
  return changed.tv_nsec == 0 || changed.tv_nsec >= moment.tv_nsec;
}

}  // namespace

GuardedNames find_guarded_names(const std::filesystem::path& folder) {
  return Finder(folder).find();
}

std::vector<std::string> planted_since(const GuardedNames& before) {
  std::vector<std::string> planted = before.absent;
  for (const Guard& now : find_guarded_names(before.root).present) {
    const auto known = [&](const Guard& guard) { return guard.path == now.path; };
    if (!is_obeyed(now.path.substr(now.path.rfind('/') + 1)) ||
        std::ranges::any_of(before.present, known) ||
        std::ranges::find(planted, now.path) != planted.end()) {
      continue;
    }
    if (before.complete ||
        changed_since(std::filesystem::path(before.root) / now.path, before.began)) {
      planted.push_back(now.path);
    }
  }
  return planted;
}

}  // namespace fathom::sandbox
