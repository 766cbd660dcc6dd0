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

std::int64_t bytes_of(const std::vector<CacheFile>& files) {
  std::int64_t total = 0;
  for (const CacheFile& file : files) {
    if (file.kind != CacheFile::Kind::foreign) total += file.bytes;
  }
  return total;
}

// Blocks before a segment's first one in its timeline.
std::int64_t depth_of(const CacheFile& file) {
  if (file.kind != CacheFile::Kind::segment) return 0;
  const auto first = Segment::first_of(file.path);
  return first ? first->number : 0;
}

}  // namespace

BlockStore::BlockStore(fs::path folder, SegmentKind kind, std::int64_t segment_bytes)
    : folder_(std::move(folder)), kind_(std::move(kind)), segment_bytes_(segment_bytes) {}

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
    if (!name.starts_with(kind_.fingerprint + ".") || seen_.contains(name)) continue;
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
    seen_.insert(name);
  }
  // Oldest first, as their writers left them.
  const auto written = [](const StoredMoment& found) {
    std::error_code gone;
    return fs::last_write_time(found.moment.file, gone);
  };
  std::ranges::stable_sort(news.moments, std::less<>(), written);
  news.blocks = std::exchange(found_, {});
  for (int i = 0; i < std::ssize(segments_); ++i) {
    std::shared_ptr<Segment>& segment = segments_[static_cast<std::size_t>(i)];
    if (!segment) continue;
    if (segment->is_gone()) {
      segment = nullptr;
      news.gone.push_back(i);
      if (i == active_) active_ = -1;
    } else if (i != active_) {
      list_new(i, news.blocks);
    }
  }
  std::erase_if(news.blocks, [&](const StoredBlock& block) {
    return std::ranges::count(news.gone, block.place.segment) > 0;
  });
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
  const auto from = segment(place.segment);
  return from && from->read(place.record, key, page);
}

Page BlockStore::map(Place place) const {
  const auto from = segment(place.segment);
  return from ? from->map(place.record) : nullptr;
}

// One that has room and that nobody else appends to, or a new one.
void BlockStore::choose_segment() {
  if (active_ >= 0) {
    Segment& active = *segments_[static_cast<std::size_t>(active_)];
    if (active.bytes() < segment_bytes_ && !active.is_gone()) return;
    active.end_appending();
    active_ = -1;
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    if (!segments_[i] || segments_[i]->bytes() >= segment_bytes_) continue;
    if (!segments_[i]->begin_appending()) continue;
    active_ = static_cast<int>(i);
    list_new(active_, found_);
    return;
  }
  const fs::path file = folder_ / fmt::format("{}.{}.rows", kind_.fingerprint, random_name());
  segments_.push_back(Segment::create(file, kind_));
  seen_.insert(file.filename().string());
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
  seen_.insert(file.filename().string());
  return file;
}

void BlockStore::remove(const fs::path& moment) noexcept {
  ::unlink(moment.c_str());
  const std::lock_guard lock(mutex_);
  seen_.erase(moment.filename().string());
}

void BlockStore::touch(const std::set<int>& segments, const fs::path& moment) noexcept {
  for (const int index : segments) {
    if (const auto used = segment(index)) used->touch();
  }
  if (!moment.empty()) static_cast<void>(::utimensat(AT_FDCWD, moment.c_str(), nullptr, 0));
}

void BlockStore::hold(const std::set<int>& segments) noexcept {
  const std::lock_guard lock(mutex_);
  for (int i = 0; i < std::ssize(segments_); ++i) {
    Segment* one = segments_[static_cast<std::size_t>(i)].get();
    if (one == nullptr) continue;
    one->hold(segments.contains(i));
    if (segments.contains(i)) one->touch();
  }
}

std::int64_t BlockStore::bytes() const {
  return bytes_of(cache_files(folder_));
}

void BlockStore::shrink(std::int64_t bytes, const FileCount& on_removed) {
  std::vector<CacheFile> files = cache_files(folder_);
  std::int64_t total = bytes_of(files);
  if (total <= bytes) return;
  const std::int64_t now = now_s();
  const std::int64_t block_bytes = kind_.page_bytes + static_cast<std::int64_t>(sizeof(RecordHead));
  // The segments of a way are used together; of those the deepest goes first, because without the
  // first one nobody gets to the others.
  struct Candidate {
    double worth;
    std::int64_t depth;
    const CacheFile* file;
    auto rank() const { return std::pair(worth, -depth); }
  };
  std::vector<Candidate> candidates;
  for (const CacheFile& file : files) {
    if (file.kind != CacheFile::Kind::segment && file.kind != CacheFile::Kind::moment) continue;
    const auto minutes = static_cast<double>(std::max<std::int64_t>(now - file.used_s, 0) / 60 + 1);
    const double saved = tokens_saved(file, block_bytes) / static_cast<double>(file.bytes + 1);
    candidates.push_back({.worth = saved / minutes, .depth = depth_of(file), .file = &file});
  }
  std::ranges::sort(candidates, {}, &Candidate::rank);
  std::int64_t removed = 0;
  for (const Candidate& candidate : candidates) {
    if (total <= bytes) return;
    if (!remove_file(*candidate.file)) continue;
    total -= candidate.file->bytes;
    if (on_removed) on_removed(++removed);
  }
}

std::vector<CacheFile> cache_files(const fs::path& folder, const FileCount& on_found) {
  // One that holds less than a mark was left behind when its writer began.
  const auto kind_of = [](const fs::path& path, const FileMark& mark, const CacheFile& file) {
    constexpr std::int64_t kMarkBytes = sizeof mark.magic + sizeof mark.version;
    if (file.bytes < kMarkBytes && now_s() - file.used_s > kLeftoverSeconds) {
      return CacheFile::Kind::leftover;
    }
    if (!begins_with(path, mark)) return CacheFile::Kind::foreign;
    return mark == kSegmentMark ? CacheFile::Kind::segment : CacheFile::Kind::moment;
  };
  std::vector<CacheFile> files;
  std::error_code failed;
  for (auto at = fs::directory_iterator(folder, failed); !failed && at != fs::directory_iterator();
       at.increment(failed)) {
    const fs::path& path = at->path();
    struct stat about = {};
    if (::lstat(path.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
    CacheFile file{.path = path, .bytes = about.st_size, .used_s = about.st_mtim.tv_sec};
    if (path.extension() == ".rows") {
      file.kind = kind_of(path, kSegmentMark, file);
      struct stat index = {};
      if (::lstat(index_of(path).c_str(), &index) == 0) file.bytes += index.st_size;
    } else if (path.extension() == ".moment") {
      file.kind = kind_of(path, kMomentMark, file);
    } else if (path.extension() == ".part" && now_s() - file.used_s > kLeftoverSeconds) {
      file.kind = CacheFile::Kind::leftover;
    } else if (path.extension() == ".index" &&
               !fs::exists(fs::path(path).replace_extension(".rows"), failed)) {
      file.kind = CacheFile::Kind::leftover;
    } else {
      continue;
    }
    files.push_back(std::move(file));
    if (on_found) on_found(std::ssize(files));
  }
  return files;
}

bool remove_file(const CacheFile& file) noexcept {
  if (file.kind == CacheFile::Kind::foreign) return false;
  const Descriptor open(::open(file.path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (open && is_used(open.get())) return false;
  if (file.kind != CacheFile::Kind::segment) return ::unlink(file.path.c_str()) == 0;
  if (!open || ::flock(open.get(), LOCK_EX | LOCK_NB) != 0) return false;
  ::unlink(index_of(file.path).c_str());
  return ::unlink(file.path.c_str()) == 0;
}

}  // namespace fathom::engine
