// Reads and appends records. Nothing read from a file is believed before its checksum agrees.
#include "engine/cache/segment.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cache/checksum.h"
#include "engine/cache/lost_rows.h"
#include "engine/weights/watched_pages.h"

namespace fathom::engine {
namespace {

constexpr std::int64_t kHeaderBytes = 4096;  // rows begin on a page of memory
constexpr std::int64_t kAlignment = 64;
constexpr int kFlags = O_CLOEXEC | O_NOFOLLOW;
constexpr std::uint32_t kRecordMagic = 0x314B4C42;  // "BLK1"

struct FileHeader {
  FileMark mark = kSegmentMark;
  std::uint32_t zero = 0;
  std::int64_t page_bytes = 0;
  BlockKey root;
  std::array<char, 128> fingerprint{};
  std::uint64_t sum = 0;  // of everything before
};

template <class T>
std::uint64_t sum_before(const T& whole, const std::uint64_t& sum) noexcept {
  const auto* begin = reinterpret_cast<const std::byte*>(&whole);
  return sum_of({begin, reinterpret_cast<const std::byte*>(&sum)});
}

bool is_whole(const RecordHead& head) noexcept {
  return head.magic == kRecordMagic && head.head_sum == sum_before(head, head.head_sum);
}

template <class T>
std::span<std::byte> bytes_of(T& value) noexcept {
  return std::as_writable_bytes(std::span(&value, 1));
}

[[noreturn]] void fail(const std::filesystem::path& file) {
  throw std::system_error(errno, std::generic_category(), file.string());
}

std::optional<SegmentKind> read_kind(int file) noexcept {
  FileHeader header;
  if (!read_all(file, bytes_of(header), 0)) return std::nullopt;
  if (header.mark != kSegmentMark || header.page_bytes <= 0 ||
      header.sum != sum_before(header, header.sum)) {
    return std::nullopt;
  }
  header.fingerprint.back() = '\0';
  return SegmentKind{.root = header.root,
                     .page_bytes = header.page_bytes,
                     .fingerprint = header.fingerprint.data()};
}

void write_kind(const std::filesystem::path& path, int file, const SegmentKind& kind) {
  FileHeader header{.page_bytes = kind.page_bytes, .root = kind.root};
  kind.fingerprint.copy(header.fingerprint.data(), header.fingerprint.size() - 1);
  header.sum = sum_before(header, header.sum);
  std::array<std::byte, kHeaderBytes> block{};
  std::memcpy(block.data(), &header, sizeof header);
  if (!write_all(file, block, 0)) fail(path);
}

}  // namespace

std::filesystem::path index_of(const std::filesystem::path& segment) {
  return std::filesystem::path(segment).replace_extension(".index");
}

std::int64_t Segment::stride() const noexcept {
  const auto bytes = static_cast<std::int64_t>(sizeof(RecordHead)) + kind_.page_bytes;
  return (bytes + kAlignment) / kAlignment * kAlignment;  // a byte more at least: see append()
}

std::int64_t Segment::place_of(std::int64_t record) const noexcept {
  return kHeaderBytes + record * stride();
}

std::int64_t Segment::bytes() const noexcept {
  return size_of(rows_.get());
}

std::optional<SegmentKind> Segment::kind_of(const std::filesystem::path& file) {
  const Descriptor rows(::open(file.c_str(), O_RDONLY | kFlags));
  return rows ? read_kind(rows.get()) : std::nullopt;
}

std::optional<RecordHead> Segment::first_of(const std::filesystem::path& file) {
  const Descriptor rows(::open(file.c_str(), O_RDONLY | kFlags));
  RecordHead head;
  if (!rows || !read_kind(rows.get()) || !read_all(rows.get(), bytes_of(head), kHeaderBytes)) {
    return std::nullopt;
  }
  return is_whole(head) ? std::optional(head) : std::nullopt;
}

std::shared_ptr<Segment> Segment::open(const std::filesystem::path& file, const SegmentKind& kind) {
  std::shared_ptr<Segment> segment(new Segment);
  segment->file_ = file;
  segment->kind_ = kind;
  segment->rows_ = Descriptor(::open(file.c_str(), O_RDONLY | kFlags));
  if (!segment->rows_) return nullptr;
  const auto found = read_kind(segment->rows_.get());
  if (!found || found->root != kind.root || found->page_bytes != kind.page_bytes) return nullptr;
  segment->index_ = Descriptor(::open(index_of(file).c_str(), O_RDONLY | kFlags));
  return segment;
}

std::shared_ptr<Segment> Segment::create(const std::filesystem::path& file,
                                         const SegmentKind& kind) {
  Descriptor rows(::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | kFlags, 0600));
  if (!rows || ::flock(rows.get(), LOCK_EX | LOCK_NB) != 0) fail(file);
  write_kind(file, rows.get(), kind);
  Descriptor index(::open(index_of(file).c_str(), O_RDWR | O_CREAT | kFlags, 0600));
  if (!index) fail(index_of(file));
  std::shared_ptr<Segment> segment = open(file, kind);
  if (!segment) fail(file);
  segment->rows_out_ = std::move(rows);
  segment->index_out_ = std::move(index);
  return segment;
}

bool Segment::begin_appending() {
  Descriptor rows(::open(file_.c_str(), O_RDWR | kFlags));
  if (!rows || ::flock(rows.get(), LOCK_EX | LOCK_NB) != 0) return false;
  // Whoever held the lock before may have removed it meanwhile.
  struct stat about = {};
  if (::fstat(rows.get(), &about) != 0 || about.st_nlink == 0) return false;
  Descriptor index(::open(index_of(file_).c_str(), O_RDWR | O_CREAT | kFlags, 0600));
  const std::int64_t whole = (about.st_size - kHeaderBytes) / stride();
  if (!index || ::ftruncate(rows.get(), place_of(whole)) != 0) return false;
  rows_out_ = std::move(rows);
  index_out_ = std::move(index);
  return true;
}

void Segment::end_appending() noexcept {
  rows_out_ = Descriptor();
  index_out_ = Descriptor();
}

bool Segment::is_gone() const noexcept {
  struct stat about = {};
  return ::fstat(rows_.get(), &about) != 0 || about.st_nlink == 0;
}

void Segment::hold(bool held) noexcept {
  if (held != held_) mark_used(rows_.get(), held);
  held_ = held;
}

std::vector<Segment::Listed> Segment::list_new() {
  std::vector<Listed> listed;
  const std::int64_t size = size_of(rows_.get());
  const std::int64_t end = size < kHeaderBytes ? 0 : (size - kHeaderBytes) / stride();
  if (end <= records_) return listed;
  std::vector<RecordHead> heads(static_cast<std::size_t>(end - records_));
  const auto head_bytes = static_cast<std::int64_t>(sizeof(RecordHead));
  const std::int64_t known =
      index_ ? std::clamp<std::int64_t>(size_of(index_.get()) / head_bytes, records_, end)
             : records_;
  const auto indexed = std::span(heads).first(static_cast<std::size_t>(known - records_));
  if (!read_all(index_.get(), std::as_writable_bytes(indexed), records_ * head_bytes)) {
    std::ranges::fill(indexed, RecordHead{});
  }
  for (std::int64_t record = records_; record < end; ++record) {
    RecordHead& head = heads[static_cast<std::size_t>(record - records_)];
    if (!is_whole(head)) {
      if (!read_all(rows_.get(), bytes_of(head), place_of(record)) || !is_whole(head)) continue;
    }
    listed.push_back({.record = record, .head = head});
  }
  records_ = end;
  return listed;
}

// A reader makes up for whatever is missing here, so failing is no failure.
void Segment::write_index(std::int64_t record, const RecordHead& head) noexcept {
  write_all(index_out_.get(), std::as_bytes(std::span(&head, 1)),
            record * static_cast<std::int64_t>(sizeof head));
}

std::int64_t Segment::append(RecordHead head, std::span<const std::byte> page) {
  head.magic = kRecordMagic;
  head.page_sum = sum_of(page);
  head.head_sum = sum_before(head, head.head_sum);
  const std::int64_t record = records_;
  const std::int64_t at = place_of(record);
  const auto head_bytes = static_cast<std::int64_t>(sizeof head);
  // A record counts for others when the file holds its last byte, so that one is set when all the
  // rest is there.
  const bool written = write_all(rows_out_.get(), page, at + head_bytes) &&
                       write_all(rows_out_.get(), std::as_bytes(std::span(&head, 1)), at);
  // A page that was mapped from a file may have become zeros meanwhile.
  const bool lost = WatchedPages::lost_at(page.data());
  if (!written || lost || ::ftruncate(rows_out_.get(), at + stride()) != 0) {
    const int why = errno;
    if (::ftruncate(rows_out_.get(), at) == 0) errno = why;
    if (lost) throw LostRows();
    fail(file_);
  }
  write_index(record, head);
  ++records_;
  return record;
}

bool Segment::read(std::int64_t record, BlockKey key, std::span<std::byte> page) const noexcept {
  RecordHead head;
  const std::int64_t at = place_of(record);
  return read_all(rows_.get(), bytes_of(head), at) && is_whole(head) && head.key == key &&
         read_all(rows_.get(), page, at + static_cast<std::int64_t>(sizeof head)) &&
         sum_of(page) == head.page_sum;
}

struct Segment::Mapping {
  Mapping(int file, std::int64_t size) : bytes(static_cast<std::size_t>(size)) {
    void* mapped = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED) return;
    memory = static_cast<const std::byte*>(mapped);
    try {
      watched.emplace(std::span(memory, bytes));
    } catch (...) {
      ::munmap(mapped, bytes);
      throw;
    }
  }
  ~Mapping() {
    watched.reset();
    if (memory != nullptr) ::munmap(const_cast<std::byte*>(memory), bytes);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  const std::byte* memory = nullptr;
  std::size_t bytes;
  std::optional<WatchedPages> watched;
};

Page Segment::map(std::int64_t record) {
  const std::lock_guard lock(mutex_);
  const std::int64_t end = place_of(record + 1);
  if (mapping_ && mapping_->watched && mapping_->watched->lost()) return nullptr;
  if (!mapping_ || static_cast<std::int64_t>(mapping_->bytes) < end) {
    try {
      mapping_ = std::make_shared<const Mapping>(rows_.get(), size_of(rows_.get()));
    } catch (const Error&) {
      return nullptr;  // too many are mapped
    }
  }
  if (mapping_->memory == nullptr || static_cast<std::int64_t>(mapping_->bytes) < end) {
    return nullptr;
  }
  const std::byte* page =
      mapping_->memory + place_of(record) + static_cast<std::int64_t>(sizeof(RecordHead));
  // An owner count of its own tells whether a session uses this page.
  return {page, [mapping = mapping_](const std::byte*) {}};
}

void Segment::touch() const noexcept {
  static_cast<void>(::utimensat(AT_FDCWD, file_.c_str(), nullptr, 0));
}

}  // namespace fathom::engine
