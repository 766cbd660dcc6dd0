// A file of blocks: one header, then records of one size. Layout: README of this folder.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/chain.h"
#include "engine/cache/file_io.h"

namespace fathom::engine {

inline constexpr FileMark kSegmentMark = {{'F', 'A', 'T', 'H', 'O', 'M', 'K', 'V'}, 1};

// What a segment's blocks have in common.
struct SegmentKind {
  BlockKey root;  // of the fingerprint
  std::int64_t page_bytes = 0;
  std::string fingerprint;
};

// A record without its page, as it lies in the file.
struct RecordHead {
  std::uint32_t magic = 0;
  std::uint32_t number = 0;  // blocks before it in its timeline
  BlockKey key;
  BlockKey parent;
  std::uint64_t page_sum = 0;
  std::uint64_t reserved = 0;
  std::array<Token, kPageTokens> ids{};
  std::uint64_t head_sum = 0;  // of everything before
};
static_assert(sizeof(RecordHead) == 576);

// read() and map() may run beside anything; the other functions one at a time.
class Segment {
 public:
  // Opens for reading. Null if the file is no segment of this kind: another version, another
  // fingerprint, damaged, gone.
  static std::shared_ptr<Segment> open(const std::filesystem::path& file, const SegmentKind& kind);

  // What the header of `file` says; empty if it is no segment of this version or is damaged.
  static std::optional<SegmentKind> kind_of(const std::filesystem::path& file);

  // The head of the first record in `file`; empty as above.
  static std::optional<RecordHead> first_of(const std::filesystem::path& file);

  // A new one, to append to. Throws std::system_error.
  static std::shared_ptr<Segment> create(const std::filesystem::path& file,
                                         const SegmentKind& kind);

  // From now on this process alone appends. Cuts a torn tail. False if another process does, or if
  // the file may not be written or is gone. list_new() must follow before the first append().
  bool begin_appending();
  void end_appending() noexcept;  // another process may go on, or remove the file

  // Whether somebody removed the file: its bytes stay until nobody has it open.
  bool is_gone() const noexcept;
  // Says to whoever evicts that live sessions stand on these blocks.
  void hold(bool held) noexcept;

  const std::filesystem::path& file() const noexcept { return file_; }
  std::int64_t records() const noexcept { return records_; }  // seen so far
  std::int64_t bytes() const noexcept;                        // without the index

  // Heads of records that were appended since the last call; damaged ones are left out.
  struct Listed {
    std::int64_t record = 0;
    RecordHead head;
  };
  std::vector<Listed> list_new();

  // Appends a record and returns its number. Only after create() or begin_appending(). Throws
  // std::system_error, and LostRows if the page is mapped and can no longer be read; the file is
  // then as before.
  std::int64_t append(RecordHead head, std::span<const std::byte> page);

  // Reads the page of a record. False if it cannot be read or is not what `key` says.
  bool read(std::int64_t record, BlockKey key, std::span<std::byte> page) const noexcept;

  // The page of a record that was read, mapped: it is what was read for as long as nobody writes to
  // the file, which no program of ours does, and stays when the file is removed. If it is cut or
  // its disk fails, WatchedPages tells. Null if it cannot be mapped, or was lost before.
  Page map(std::int64_t record);

  // Marks the file as used now, for eviction.
  void touch() const noexcept;

 private:
  Segment() = default;
  std::int64_t stride() const noexcept;
  std::int64_t place_of(std::int64_t record) const noexcept;
  void write_index(std::int64_t record, const RecordHead& head) noexcept;

  std::filesystem::path file_;
  SegmentKind kind_;
  // Constant once it is open, so that pages can be read while another thread appends.
  Descriptor rows_;
  Descriptor index_;
  // Of the one that appends.
  Descriptor rows_out_;
  Descriptor index_out_;
  std::int64_t records_ = 0;
  bool held_ = false;

  struct Mapping;
  std::mutex mutex_;
  std::shared_ptr<const Mapping> mapping_;  // guarded by mutex_; of the file as it was then
};

// The index that lies beside a segment.
std::filesystem::path index_of(const std::filesystem::path& segment);

}  // namespace fathom::engine
