// Finds, appends to and removes the files of a cache's folder.
#include "engine/cache/block_store.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <random>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

namespace fathom::engine {
namespace {

namespace fs = std::filesystem;

// Small enough that forgetting one is no great loss, large enough that a million tokens of V4-Flash
// lie in 60 files.
constexpr std::int64_t kSegmentBytes = std::int64_t{64} << 20;

// A part that nobody finished for so long is left over from a run that ended.
constexpr std::int64_t kLeftoverSeconds = 3600;

std::int64_t now_s() {
  using std::chrono::duration_cast, std::chrono::seconds, std::chrono::system_clock;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

std::string random_name() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

[[noreturn]] void fail(const fs::path& folder, int why) {
  throw std::system_error(why, std::generic_category(), folder.string());
}

// Folders for their owner alone, whatever the umask is. One that is there keeps what the owner may
// do with it, so that a read-only one stays so.
void make_private(const fs::path& folder) {
  std::error_code failed;
  const fs::path above = folder.parent_path();
  if (!above.empty() && !fs::exists(above, failed)) make_private(above);
  if (::mkdir(folder.c_str(), 0700) == 0) {
    if (::chmod(folder.c_str(), 0700) != 0) fail(folder, errno);
    return;
  }
  struct stat about = {};
  if (errno != EEXIST || ::stat(folder.c_str(), &about) != 0) fail(folder, errno);
  if (!S_ISDIR(about.st_mode)) fail(folder, ENOTDIR);
  if (about.st_uid != ::geteuid()) fail(folder, EPERM);
  if ((about.st_mode & 077U) != 0 && ::chmod(folder.c_str(), about.st_mode & 0700U) != 0) {
    fail(folder, errno);
  }
}

// Tokens to compute again without the file, roughly: of a moment at most the way to the one before.
double tokens_saved(const CacheFile& file, std::int64_t block_bytes) {
  if (file.kind == CacheFile::Kind::moment) return kMomentEvery;
  return static_cast<double>(file.bytes) / static_cast<double>(block_bytes) * kPageTokens;
}

}  // namespace

BlockStore::BlockStore(fs::path folder, SegmentKind kind)
    : folder_(std::move(folder)), kind_(std::move(kind)) {}

void BlockStore::prepare() {
  make_private(folder_.parent_path());
  make_private(folder_);
}

BlockStore::News BlockStore::look() {
  const std::lock_guard lock(mutex_);
  News news;
  std::error_code failed;
  for (auto at = fs::directory_iterator(folder_, failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    const fs::path& file = at->path();
    const std::string name = file.filename().string();
    if (!name.starts_with(kind_.fingerprint + ".") || seen_.contains(file)) continue;
    if (file.extension() == ".rows") {
      auto segment = Segment::open(file, kind_);
      if (!segment) continue;
      segments_.push_back(std::move(segment));
    } else if (file.extension() == ".moment") {
      const auto head = read_moment_head(file);
      if (!head || head->root != kind_.root) continue;
      news.moments.push_back({.after = head->after, .moment = moment_of(*head, file)});
    } else {
      continue;
    }
    seen_.insert(file);
  }
  // Oldest first, as their writers left them.
  const auto written = [](const StoredMoment& found) {
    std::error_code gone;
    return fs::last_write_time(found.moment.file, gone);
  };
  std::ranges::stable_sort(news.moments, std::less<>(), written);
  news.blocks = std::exchange(found_, {});
  for (int i = 0; i < std::ssize(segments_); ++i) {
    if (i != active_) list_new(i, news.blocks);
  }
  return news;
}

void BlockStore::list_new(int index, std::vector<StoredBlock>& blocks) {
  for (const auto& listed : segments_[static_cast<std::size_t>(index)]->list_new()) {
    blocks.push_back({.place = {.segment = index, .record = listed.record}, .head = listed.head});
  }
}

std::shared_ptr<Segment> BlockStore::segment(int index) const {
  const std::lock_guard lock(mutex_);
  return segments_[static_cast<std::size_t>(index)];
}

bool BlockStore::read(Place place, BlockKey key, std::span<std::byte> page) const noexcept {
  return segment(place.segment)->read(place.record, key, page);
}

Page BlockStore::map(Place place) const {
  return segment(place.segment)->map(place.record);
}

// One that has room and that nobody else appends to, or a new one.
void BlockStore::choose_segment() {
  if (active_ >= 0) {
    if (segments_[static_cast<std::size_t>(active_)]->bytes() < kSegmentBytes) return;
    active_ = -1;
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (segments_[i]->bytes() >= kSegmentBytes) continue;
    if (!segments_[i]->begin_appending()) continue;
    active_ = static_cast<int>(i);
    list_new(active_, found_);
    return;
  }
  const fs::path file = folder_ / fmt::format("{}.{}.rows", kind_.fingerprint, random_name());
  segments_.push_back(Segment::create(file, kind_));
  seen_.insert(file);
  active_ = static_cast<int>(segments_.size()) - 1;
}

Place BlockStore::append(const RecordHead& head, std::span<const std::byte> page) {
  std::shared_ptr<Segment> to;
  {
    const std::lock_guard lock(mutex_);
    choose_segment();
    to = segments_[static_cast<std::size_t>(active_)];
  }
  return {.segment = active_, .record = to->append(head, page)};
}

fs::path BlockStore::append(BlockKey after, const Moment& moment) {
  BlockKey key = after;
  for (const Token id : moment.open) key = chain::extend(key, static_cast<std::uint32_t>(id));
  const fs::path file =
      folder_ / fmt::format("{}.{:016x}{:016x}.moment", kind_.fingerprint, key.high, key.low);
  write_moment(file, kind_.root, after, moment);
  const std::lock_guard lock(mutex_);
  seen_.insert(file);
  return file;
}

void BlockStore::remove(const fs::path& moment) noexcept {
  ::unlink(moment.c_str());
  const std::lock_guard lock(mutex_);
  seen_.erase(moment);
}

void BlockStore::touch(const std::set<int>& segments, const fs::path& moment) noexcept {
  for (const int index : segments) segment(index)->touch();
  if (!moment.empty()) static_cast<void>(::utimensat(AT_FDCWD, moment.c_str(), nullptr, 0));
}

std::int64_t BlockStore::bytes() const {
  std::int64_t total = 0;
  for (const CacheFile& file : cache_files(folder_)) total += file.bytes;
  return total;
}

void BlockStore::shrink(std::int64_t bytes) noexcept {
  std::vector<CacheFile> files = cache_files(folder_);
  std::int64_t total = 0;
  for (const CacheFile& file : files) total += file.bytes;
  const std::int64_t now = now_s();
  const std::int64_t block_bytes = kind_.page_bytes + static_cast<std::int64_t>(sizeof(RecordHead));
  const auto worth = [&](const CacheFile& file) {
    const auto age = static_cast<double>(std::max<std::int64_t>(now - file.used_s, 0) + 60);
    return tokens_saved(file, block_bytes) / static_cast<double>(file.bytes + 1) / age;
  };
  std::ranges::sort(files, std::less<>(), worth);
  for (const CacheFile& file : files) {
    if (total <= bytes) return;
    if (file.kind == CacheFile::Kind::leftover) continue;
    if (remove_file(file)) total -= file.bytes;
  }
}

std::vector<CacheFile> cache_files(const fs::path& folder) {
  std::vector<CacheFile> files;
  std::error_code failed;
  for (auto at = fs::directory_iterator(folder, failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    const fs::path& path = at->path();
    struct stat about = {};
    if (::lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    CacheFile file{.path = path, .bytes = about.st_size, .used_s = about.st_mtim.tv_sec};
    if (path.extension() == ".rows") {
      file.kind = CacheFile::Kind::segment;
      struct stat index = {};
      if (::lstat(index_of(path).c_str(), &index) == 0) file.bytes += index.st_size;
    } else if (path.extension() == ".moment") {
      file.kind = CacheFile::Kind::moment;
    } else if (path.extension() == ".part" && now_s() - file.used_s > kLeftoverSeconds) {
      file.kind = CacheFile::Kind::leftover;
    } else if (path.extension() == ".index" &&
               !fs::exists(fs::path(path).replace_extension(".rows"), failed)) {
      file.kind = CacheFile::Kind::leftover;
    } else {
      continue;
    }
    files.push_back(std::move(file));
  }
  return files;
}

bool remove_file(const CacheFile& file) noexcept {
  if (file.kind != CacheFile::Kind::segment) return ::unlink(file.path.c_str()) == 0;
  const Descriptor rows(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!rows || ::flock(rows.get(), LOCK_EX | LOCK_NB) != 0) return false;
  ::unlink(index_of(file.path).c_str());
  return ::unlink(file.path.c_str()) == 0;
}

}  // namespace fathom::engine
