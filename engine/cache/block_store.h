// The cache's folder: segments, moments, and how much of the disk they take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/cache/moment_file.h"
#include "engine/cache/prefix_tree.h"
#include "engine/cache/segment.h"

namespace fathom::engine {

// Told how many files were handled so far, where there may be many; may be empty.
using FileCount = std::function<void(std::int64_t files)>;

// Safe to use from several threads; any number of processes may use the same folder.
class BlockStore {
 public:
  // Small enough that forgetting one is no great loss, large enough that a million tokens of
  // V4-Flash lie in 60 files.
  static constexpr std::int64_t kSegmentBytes = std::int64_t{64} << 20;

  // `folder` need not exist. Throws nothing: what cannot be read is not there. A segment that has
  // `segment_bytes` gets no more blocks.
  BlockStore(std::filesystem::path folder, SegmentKind kind,
             std::int64_t segment_bytes = kSegmentBytes);

  // What has come to lie in the folder since the last call, of this store's kind.
  struct StoredBlock {
    Place place;
    RecordHead head;
  };
  struct StoredMoment {
    BlockKey after;
    Moment moment;
  };
  struct News {
    std::vector<StoredBlock> blocks;
    std::vector<StoredMoment> moments;
    std::vector<int> gone;  // segments that somebody removed
  };
  News look();

  // False if it is damaged or cannot be read. page [page_bytes]
  bool read(Place place, BlockKey key, std::span<std::byte> page) const noexcept;

  // A page that was read, mapped; null if it cannot be. As Segment::map().
  Page map(Place place) const;

  // Makes the folder, for its owner alone. Throws std::system_error.
  void prepare();
  Place append(const RecordHead& head, std::span<const std::byte> page);
  std::filesystem::path append(BlockKey after, const Moment& moment);  // returns its file
  void remove(const std::filesystem::path& moment) noexcept;

  // Marks as used what was read, so that other files go first.
  void touch(const std::set<int>& segments, const std::filesystem::path& moment) noexcept;
  // Live sessions stand on these segments and no others: nobody evicts them, in no process.
  void hold(const std::set<int>& segments) noexcept;

  std::int64_t bytes() const;  // of all files in the folder that this version wrote
  // Removes what is worth least until at most `bytes` are left, other models' files included; never
  // a segment that somebody appends to or holds, nor a file of another version.
  void shrink(std::int64_t bytes, const FileCount& on_removed = {});

 private:
  std::shared_ptr<Segment> segment(int index) const;
  void choose_segment();
  void list_new(int index, std::vector<StoredBlock>& blocks);

  const std::filesystem::path folder_;
  const SegmentKind kind_;
  const std::int64_t segment_bytes_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Segment>> segments_;  // guarded by mutex_, and so what follows;
                                                    // null: gone
  std::set<std::string> seen_;                      // names of files
  std::vector<StoredBlock> found_;  // when a segment was opened for appending, for look()
  int active_ = -1;  // the segment that this process appends to; looking at it is the writer's
};

// Of a folder of the cache: its files. For commands that load no model.
struct CacheFile {
  // foreign: of another version, or not ours at all; nobody removes it.
  enum class Kind { segment, moment, leftover, foreign };
  std::filesystem::path path;
  Kind kind = Kind::leftover;
  std::int64_t bytes = 0;   // with its index
  std::int64_t used_s = 0;  // Unix time of its last use
};
std::vector<CacheFile> cache_files(const std::filesystem::path& folder,
                                   const FileCount& on_found = {});

// Removes a segment and its index, or a moment, unless somebody appends to it or holds it. False if
// it is still there.
bool remove_file(const CacheFile& file) noexcept;

}  // namespace fathom::engine
