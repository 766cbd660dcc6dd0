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

// Safe to use from several threads; any number of processes may use the same folder.
class BlockStore {
 public:
  // `folder` need not exist. Throws nothing: what cannot be read is not there.
  BlockStore(std::filesystem::path folder, SegmentKind kind);

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
  };
  News look();

  // False if it is damaged or cannot be read. page [page_bytes]
  bool read(Place place, BlockKey key, std::span<std::byte> page) const noexcept;

  // A page that was read, mapped; null if it cannot be.
  Page map(Place place) const;

  // Makes the folder, for its owner alone. Throws std::system_error.
  void prepare();
  Place append(const RecordHead& head, std::span<const std::byte> page);
  std::filesystem::path append(BlockKey after, const Moment& moment);  // returns its file
  void remove(const std::filesystem::path& moment) noexcept;

  // Marks as used what was read, so that other files go first.
  void touch(const std::set<int>& segments, const std::filesystem::path& moment) noexcept;

  std::int64_t bytes() const;  // of all files in the folder that this version wrote
  // Removes what is worth least until at most `bytes` are left, other models' files included; never
  // a segment that somebody appends to.
  void shrink(std::int64_t bytes) noexcept;

 private:
  std::shared_ptr<Segment> segment(int index) const;
  void choose_segment();
  void list_new(int index, std::vector<StoredBlock>& blocks);

  const std::filesystem::path folder_;
  const SegmentKind kind_;
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Segment>> segments_;  // guarded by mutex_, and so what follows
  std::set<std::filesystem::path> seen_;
  std::vector<StoredBlock> found_;  // when a segment was opened for appending, for look()
  int active_ = -1;  // the segment that this process appends to; looking at it is the writer's
};

// Of a folder of the cache: its files of this version. For commands that load no model.
struct CacheFile {
  enum class Kind { segment, moment, leftover };
  std::filesystem::path path;
  Kind kind = Kind::leftover;
  std::int64_t bytes = 0;   // with its index
  std::int64_t used_s = 0;  // Unix time of its last use
};
std::vector<CacheFile> cache_files(const std::filesystem::path& folder);

// Removes a segment and its index unless somebody appends to it; or a moment.
bool remove_file(const CacheFile& file) noexcept;

}  // namespace fathom::engine
