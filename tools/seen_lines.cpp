// Remembers shown lines by hash.
#include "tools/seen_lines.h"

#include <algorithm>
#include <cassert>
#include <functional>

namespace fathom::tools {
namespace {

std::uint64_t hash_of(std::string_view line) {
  return std::hash<std::string_view>{}(line);
}

std::vector<std::uint64_t> hashes_of(const std::vector<std::string_view>& lines) {
  std::vector<std::uint64_t> hashes(lines.size());
  std::ranges::transform(lines, hashes.begin(), hash_of);
  return hashes;
}

}  // namespace

void SeenLines::show(const std::string& path, const std::vector<std::string_view>& lines, int first,
                     int last, bool as_a_whole) {
  assert(first >= 1 && last <= std::ssize(lines));
  const std::lock_guard lock(mutex_);
  File& file = files_[path];
  for (int i = first; i <= last; ++i) {
    file.shown[i] = hash_of(lines[static_cast<std::size_t>(i) - 1]);
  }
  if (as_a_whole) file.whole = hashes_of(lines);
}

void SeenLines::show_line(const std::string& path, int number, std::string_view line) {
  const std::lock_guard lock(mutex_);
  files_[path].shown[number] = hash_of(line);
}

void SeenLines::wrote(const std::string& path, const std::vector<std::string_view>& lines) {
  const std::lock_guard lock(mutex_);
  File& file = files_[path];
  file.whole = hashes_of(lines);
  file.shown.clear();
  for (std::size_t i = 0; i < lines.size(); ++i) {
    file.shown[static_cast<int>(i) + 1] = (*file.whole)[i];
  }
}

void SeenLines::edited(const std::string& path, const std::vector<std::string_view>& before,
                       const std::vector<std::string_view>& after, int first, int last) {
  const bool known = check_file(path, before).answer == Answer::unchanged;
  show(path, after, first, last, known);
}

SeenLines::Check SeenLines::check_lines(const std::string& path,
                                        const std::vector<std::string_view>& lines, int first,
                                        int last) const {
  assert(first >= 1 && last <= std::ssize(lines));
  const std::lock_guard lock(mutex_);
  const auto file = files_.find(path);
  const std::map<int, Hash> none;
  const auto& shown = file == files_.end() ? none : file->second.shown;
  int missing = 0;
  int missing_last = 0;
  for (int i = first; i <= last; ++i) {
    const auto seen = shown.find(i);
    if (seen == shown.end()) {
      if (missing == 0) missing = i;
      missing_last = i;
    } else if (seen->second != hash_of(lines[static_cast<std::size_t>(i) - 1])) {
      return {Answer::changed, i, i};
    }
  }
  if (missing == 0) return {};
  return {Answer::not_shown, missing, missing_last};
}

SeenLines::Check SeenLines::check_file(const std::string& path,
                                       const std::vector<std::string_view>& lines) const {
  const std::lock_guard lock(mutex_);
  const auto file = files_.find(path);
  if (file == files_.end() || !file->second.whole) {
    return {Answer::not_shown, 1, static_cast<int>(lines.size())};
  }
  const std::vector<Hash> now = hashes_of(lines);
  const std::vector<Hash>& then = *file->second.whole;
  if (now == then) return {};
  const auto differing = std::ranges::mismatch(now, then).in1 - now.begin();
  const int line = static_cast<int>(std::min(differing, std::ssize(now) - 1)) + 1;
  return {Answer::changed, line, line};
}

}  // namespace fathom::tools
