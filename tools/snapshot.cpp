// What the text files of a workspace held at one moment, to tell later what changed.
#include "tools/snapshot.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "sandbox/workspace.h"
#include "tools/text.h"

namespace fathom::tools {
namespace {

// A turn begins with reading all of it, so it must take no more than a moment: the limits hold the
// source of most projects and are read in well under a second.
constexpr int kFilesMax = 10'000;
constexpr std::int64_t kBytesMax = 32 << 20;
constexpr std::int64_t kFileBytesMax = 1 << 20;

using sandbox::Entry;
using sandbox::Workspace;

bool is_git_folder(const Entry& entry) {
  return entry.path == ".git" || entry.path.ends_with("/.git");
}

// The text of a file; nothing if it is gone, binary or too large.
std::optional<std::string> text_of(const Workspace& workspace, const std::string& path) {
  auto text = workspace.read(path, kFileBytesMax);
  if (!text || is_binary(*text)) return std::nullopt;
  return std::move(*text);
}

bool is_regular(const Workspace& workspace, const std::string& path) {
  const auto entry = workspace.stat(path);
  return entry && entry->kind == Entry::Kind::file;
}

}  // namespace

Snapshot::Snapshot(const std::filesystem::path& workspace)
    : workspace_(std::make_unique<Workspace>(workspace)) {
  take();
}

Snapshot::~Snapshot() = default;

void Snapshot::take() {
  std::int64_t bytes = 0;
  const auto visited = workspace_->walk("", [&](const Entry& entry) {
    if (entry.kind == Entry::Kind::directory && is_git_folder(entry)) return Workspace::Walk::skip;
    if (entry.kind != Entry::Kind::file) return Workspace::Walk::on;
    bytes += entry.bytes;
    whole_ = bytes <= kBytesMax && std::ssize(files_) < kFilesMax;
    if (!whole_) return Workspace::Walk::stop;
    if (auto text = text_of(*workspace_, entry.path)) {
      files_[entry.path] = {
          .bytes = entry.bytes, .modified_ns = entry.modified_ns, .text = std::move(*text)};
    }
    return Workspace::Walk::on;
  });
  if (!visited) whole_ = false;
  if (!whole_) files_.clear();
}

void Snapshot::note(const FileChange& change) {
  const auto [file, is_new] = files_.try_emplace(change.path);
  file->second.noted = true;
  if (!is_new) return;
  // In a whole snapshot a file that is not known did not exist, or was binary.
  file->second.text = change.before;
  file->second.existed = change.change != "created";
}

std::vector<FileChange> Snapshot::changes() const {
  std::vector<FileChange> changes;
  const auto compare = [&](const std::string& path, const File& file) {
    const bool exists = is_regular(*workspace_, path);
    auto now = exists ? text_of(*workspace_, path) : std::nullopt;
    if (exists && !now) return;  // binary or too large now: no diff can show it
    if (!now && file.existed) {
      changes.push_back({.path = path, .change = "deleted", .before = file.text, .after = {}});
    } else if (now && !file.existed) {
      changes.push_back({.path = path, .change = "created", .before = {}, .after = *now});
    } else if (now && *now != file.text) {
      changes.push_back({.path = path, .change = "modified", .before = file.text, .after = *now});
    }
  };

  std::set<std::string> unchanged;
  std::set<std::string> added;
  if (whole_) {
    static_cast<void>(workspace_->walk("", [&](const Entry& entry) {
      if (entry.kind == Entry::Kind::directory && is_git_folder(entry)) {
        return Workspace::Walk::skip;
      }
      if (entry.kind != Entry::Kind::file) return Workspace::Walk::on;
      const auto known = files_.find(entry.path);
      if (known == files_.end()) {
        added.insert(entry.path);
      } else if (!known->second.noted && known->second.bytes == entry.bytes &&
                 known->second.modified_ns == entry.modified_ns) {
        unchanged.insert(entry.path);
      }
      return std::ssize(added) < kFilesMax ? Workspace::Walk::on : Workspace::Walk::stop;
    }));
  }
  for (const auto& [path, file] : files_) {
    if (!unchanged.contains(path)) compare(path, file);
  }
  for (const std::string& path : added) compare(path, {.text = {}, .existed = false});
  std::ranges::sort(changes, {}, &FileChange::path);
  return changes;
}

}  // namespace fathom::tools
