// Walks a workspace under its .gitignore files.
#include "tools/walk.h"

#include <algorithm>

#include "tools/glob.h"

namespace fathom::tools {
namespace {

// Larger than any source tree that is searched as a whole; the list takes some 50 MB.
constexpr std::size_t kFilesMax = 500'000;

constexpr std::int64_t kIgnoreFileBytesMax = sandbox::kMiB;

void add_rules(IgnoreRules& rules, const sandbox::Workspace& workspace, const std::string& folder) {
  const std::string path = folder.empty() ? ".gitignore" : folder + "/.gitignore";
  // git does not follow a symbolic link here either.
  const auto entry = workspace.stat(path);
  if (!entry || entry->kind != sandbox::Entry::Kind::file) return;
  if (const auto text = workspace.read(path, kIgnoreFileBytesMax)) rules.add(folder, *text);
}

// The rules of the folders above count below `folder` too.
void add_rules_down_to(IgnoreRules& rules, const sandbox::Workspace& workspace,
                       const std::string& folder) {
  add_rules(rules, workspace, "");
  for (std::size_t slash = 0; slash < folder.size();) {
    slash = std::min(folder.find('/', slash + 1), folder.size());
    add_rules(rules, workspace, folder.substr(0, slash));
  }
}

bool is_git(const std::string& path) {
  return path == ".git" || path.ends_with("/.git");
}

}  // namespace

sandbox::Result<FoundFiles> find_files(const sandbox::Workspace& workspace,
                                       const std::string& folder, std::stop_token stop) {
  using Kind = sandbox::Entry::Kind;
  using Walk = sandbox::Workspace::Walk;
  FoundFiles found;
  if (!folder.empty()) {
    const auto entry = workspace.stat(folder);
    if (!entry) return tl::unexpected(entry.error());
    if (entry->kind == Kind::file) {
      found.files.push_back({entry->path, entry->bytes});
      return found;
    }
  }
  IgnoreRules rules;
  add_rules_down_to(rules, workspace, folder);
  const auto visit = [&](const sandbox::Entry& entry) {
    if (stop.stop_requested()) return Walk::stop;
    const bool is_folder = entry.kind == Kind::directory;
    if (is_git(entry.path) || rules.ignores(entry.path, is_folder)) return Walk::skip;
    if (is_folder) add_rules(rules, workspace, entry.path);
    if (entry.kind != Kind::file) return Walk::on;
    found.all = found.files.size() < kFilesMax;
    if (!found.all) return Walk::stop;
    found.files.push_back({entry.path, entry.bytes});
    return Walk::on;
  };
  if (const auto walked = workspace.walk(folder, visit); !walked) {
    return tl::unexpected(walked.error());
  }
  // A walk visits "a/b" before "a-b"; bytewise it is the other way round.
  std::ranges::sort(found.files, {}, &FoundFile::path);
  return found;
}

}  // namespace fathom::tools
