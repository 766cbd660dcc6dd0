// `fathom cache`: looks at the folder, checks every byte of it, clears it up. Loads no model.
#include "ui/commands/cache.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include <unistd.h>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/cache/block_store.h"
#include "engine/prefix_cache.h"
#include "ui/json_lines.h"

namespace fathom::ui {
namespace {

namespace fs = std::filesystem;
using engine::CacheFile;
using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

fs::path folder_of(const CacheCommandOptions& options) {
  const fs::path folder =
      options.cache.folder.empty() ? engine::PrefixCache::default_folder() : options.cache.folder;
  return folder / "v1";
}

// One line on a terminal that says how far a long look is; nothing when standard error is not one.
class Progress {
 public:
  Progress() : shown_(::isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (written_) fmt::print(stderr, "\r\033[K");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void looked_at(std::int64_t files) {
    if (due()) say(fmt::format("looked at {} files", files));
  }
  void removed(std::int64_t files) {
    if (due()) say(fmt::format("removed {} files", files));
  }
  void read(std::int64_t bytes, std::int64_t total) {
    bytes_ += bytes;
    if (due()) say(fmt::format("read {} of {} MB", bytes_ >> 20, total >> 20));
  }

 private:
  bool due() {
    const auto now = Clock::now();
    if (!shown_ || now - last_ < std::chrono::milliseconds(500)) return false;
    last_ = now;
    return true;
  }
  void say(const std::string& text) {
    written_ = true;
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
  }

  const bool shown_;
  std::int64_t bytes_ = 0;
  bool written_ = false;
  Clock::time_point last_ = Clock::now();
};

// "0123…-official-avx512-r1-native" of a file's name.
std::string fingerprint_of(const fs::path& file) {
  const std::string name = file.filename().string();
  return name.substr(0, name.find('.'));
}

std::vector<CacheFile> all_files(const fs::path& folder, Progress& progress) {
  return engine::cache_files(folder, [&](std::int64_t files) { progress.looked_at(files); });
}

// Without those of another version, which nobody reads or removes.
std::vector<CacheFile> own_files(const fs::path& folder, Progress& progress) {
  std::vector<CacheFile> files = all_files(folder, progress);
  std::erase_if(files, [](const CacheFile& file) { return file.kind == CacheFile::Kind::foreign; });
  return files;
}

std::int64_t bytes_of(const std::vector<CacheFile>& files) {
  std::int64_t bytes = 0;
  for (const CacheFile& file : files) bytes += file.bytes;
  return bytes;
}

std::string time_of(std::int64_t unix_s) {
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::localtime(static_cast<std::time_t>(unix_s)));
}

void print(const Json& line) {
  write_all(STDOUT_FILENO, line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

// One line for each place at which a timeline can be taken up.
int list(const CacheCommandOptions& options) {
  struct Found {
    CacheFile file;
    engine::MomentHead head;
  };
  std::vector<Found> found;
  {
    Progress progress;
    for (CacheFile& file : all_files(folder_of(options), progress)) {
      if (file.kind != CacheFile::Kind::moment) continue;
      const auto head = engine::read_moment_head(file.path);
      if (head) found.push_back({std::move(file), *head});
      progress.looked_at(std::ssize(found));
    }
  }
  std::ranges::sort(found, std::greater<>(), [](const Found& one) { return one.file.used_s; });
  for (const auto& [file, head] : found) {
    if (options.json) {
      print({{"model", fingerprint_of(file.path)},
             {"tokens", head.tokens},
             {"end", head.named != 0 && head.tokens % engine::kMomentEvery != 0},
             {"bytes", file.bytes},
             {"used", file.used_s},
             {"file", file.path.filename().string()}});
    } else {
      fmt::print("{}  {:>9} tokens  {:>11} bytes  {}\n", time_of(file.used_s), head.tokens,
                 file.bytes, fingerprint_of(file.path));
    }
  }
  if (found.empty() && !options.json) fmt::print("Nothing is kept.\n");
  return 0;
}

// One line for each model, rounding and kernel set.
int stat(const CacheCommandOptions& options) {
  struct Sum {
    std::int64_t blocks = 0, moments = 0, bytes = 0, used_s = 0;
  };
  std::map<std::string, Sum> sums;
  {
    Progress progress;
    const auto files = own_files(folder_of(options), progress);
    const std::int64_t bytes = bytes_of(files);
    for (const CacheFile& file : files) {
      progress.read(file.bytes, bytes);
      Sum& sum = sums[fingerprint_of(file.path)];
      sum.bytes += file.bytes;
      sum.used_s = std::max(sum.used_s, file.used_s);
      if (file.kind == CacheFile::Kind::moment) ++sum.moments;
      if (file.kind != CacheFile::Kind::segment) continue;
      const auto kind = engine::Segment::kind_of(file.path);
      const auto segment = kind ? engine::Segment::open(file.path, *kind) : nullptr;
      if (segment) sum.blocks += std::ssize(segment->list_new());
    }
  }
  for (const auto& [model, sum] : sums) {
    if (options.json) {
      print({{"model", model},
             {"blocks", sum.blocks},
             {"tokens", sum.blocks * engine::kPageTokens},
             {"moments", sum.moments},
             {"bytes", sum.bytes},
             {"used", sum.used_s}});
    } else {
      fmt::print("{}  {:>9} tokens  {:>5} moments  {:>13} bytes  {}\n", time_of(sum.used_s),
                 sum.blocks * engine::kPageTokens, sum.moments, sum.bytes, model);
    }
  }
  if (sums.empty() && !options.json) {
    fmt::print("Nothing is kept in {}.\n", folder_of(options).string());
  }
  return 0;
}

struct Checked {
  std::int64_t blocks = 0, damaged_blocks = 0, moments = 0, damaged_moments = 0;
  std::int64_t foreign = 0;  // files of another version, or whose header is damaged
};

void check_segment(const fs::path& file, const std::function<void(std::int64_t)>& on_bytes,
                   Checked& checked) {
  const auto kind = engine::Segment::kind_of(file);
  const auto segment = kind ? engine::Segment::open(file, *kind) : nullptr;
  if (!segment) {
    ++checked.foreign;
    return;
  }
  std::vector<std::byte> page(static_cast<std::size_t>(kind->page_bytes));
  const auto listed = segment->list_new();
  checked.blocks += segment->records();
  checked.damaged_blocks += segment->records() - std::ssize(listed);  // those without a whole head
  for (const engine::Segment::Listed& one : listed) {
    if (!segment->read(one.record, one.head.key, page)) ++checked.damaged_blocks;
    on_bytes(kind->page_bytes);
  }
}

int verify(const CacheCommandOptions& options) {
  Checked checked;
  {
    Progress progress;
    const auto files = all_files(folder_of(options), progress);
    const auto on_bytes = [&, total = bytes_of(files)](std::int64_t bytes) {
      progress.read(bytes, total);
    };
    for (const CacheFile& file : files) {
      if (file.kind == CacheFile::Kind::foreign) ++checked.foreign;
      if (file.kind == CacheFile::Kind::segment) check_segment(file.path, on_bytes, checked);
      if (file.kind != CacheFile::Kind::moment) continue;
      ++checked.moments;
      if (!engine::read_moment(file.path)) ++checked.damaged_moments;
      on_bytes(file.bytes);
    }
  }
  if (options.json) {
    print({{"blocks", checked.blocks},
           {"damaged_blocks", checked.damaged_blocks},
           {"moments", checked.moments},
           {"damaged_moments", checked.damaged_moments},
           {"unreadable_files", checked.foreign}});
  } else {
    fmt::print("{} blocks, {} damaged; {} moments, {} damaged; {} files of another version\n",
               checked.blocks, checked.damaged_blocks, checked.moments, checked.damaged_moments,
               checked.foreign);
  }
  return checked.damaged_blocks + checked.damaged_moments > 0 ? 1 : 0;
}

// Keys of blocks from which a way of blocks leads to the root of their model.
std::set<std::pair<std::uint64_t, std::uint64_t>> reachable_blocks(
    const std::vector<CacheFile>& files, Progress& progress) {
  const std::int64_t bytes = bytes_of(files);
  using Key = std::pair<std::uint64_t, std::uint64_t>;
  std::multimap<Key, Key> children;
  std::vector<Key> reached;
  for (const CacheFile& file : files) {
    progress.read(file.bytes, bytes);
    if (file.kind != CacheFile::Kind::segment) continue;
    const auto kind = engine::Segment::kind_of(file.path);
    const auto segment = kind ? engine::Segment::open(file.path, *kind) : nullptr;
    if (!segment) continue;
    reached.emplace_back(kind->root.low, kind->root.high);
    for (const engine::Segment::Listed& listed : segment->list_new()) {
      const engine::RecordHead& head = listed.head;
      children.emplace(Key{head.parent.low, head.parent.high}, Key{head.key.low, head.key.high});
    }
  }
  std::set<Key> known(reached.begin(), reached.end());
  while (!reached.empty()) {
    const Key key = reached.back();
    reached.pop_back();
    const auto [begin, end] = children.equal_range(key);
    for (auto child = begin; child != end; ++child) {
      if (known.insert(child->second).second) reached.push_back(child->second);
    }
  }
  return known;
}

// Removes what no prompt can reach, then what is worth least. A segment that a running program
// appends to stays.
int prune(const CacheCommandOptions& options) {
  const fs::path folder = folder_of(options);
  std::int64_t before = 0, after = 0;
  {
    Progress progress;
    const auto files = own_files(folder, progress);
    before = bytes_of(files);
    const auto reachable = reachable_blocks(files, progress);
    std::int64_t removed = 0;
    for (const CacheFile& file : files) {
      bool useless = options.all || file.kind == CacheFile::Kind::leftover;
      if (file.kind == CacheFile::Kind::moment && !useless) {
        const auto head = engine::read_moment_head(file.path);
        useless = head && head->tokens >= engine::kPageTokens &&
                  !reachable.contains({head->after.low, head->after.high});
      }
      if (useless && engine::remove_file(file)) progress.removed(++removed);
    }
    if (options.keep > 0) {
      engine::BlockStore store(folder, {.root = {}, .page_bytes = 1, .fingerprint = {}});
      store.shrink(static_cast<std::int64_t>(options.keep),
                   [&](std::int64_t more) { progress.removed(removed + more); });
    }
    after = bytes_of(own_files(folder, progress));
  }
  if (options.json) {
    print({{"removed", before - after}, {"kept", after}});
  } else {
    fmt::print("{} bytes removed, {} kept\n", before - after, after);
  }
  return 0;
}

}  // namespace

int cache(const CacheCommandOptions& options) {
  if (options.action == "list") return list(options);
  if (options.action == "stat") return stat(options);
  if (options.action == "verify") return verify(options);
  return prune(options);
}

}  // namespace fathom::ui
