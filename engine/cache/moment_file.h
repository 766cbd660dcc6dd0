// A file that holds one moment: complete or absent.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "engine/cache/file_io.h"
#include "engine/cache/prefix_tree.h"

namespace fathom::engine {

inline constexpr FileMark kMomentMark = {{'F', 'A', 'T', 'H', 'O', 'M', 'M', 'O'}, 2};

// What stands before the state.
struct MomentHead {
  FileMark mark;
  std::uint32_t named = 0;
  BlockKey root;
  BlockKey after;
  std::int64_t tokens = 0;
  std::uint64_t owner = 0;
  std::int64_t state_bytes = 0;
  std::uint64_t state_sum = 0;
  std::array<Token, kPageTokens> open{};  // ids since the last full block
  std::uint64_t head_sum = 0;             // of everything before
};

// Replaces nothing: a moment's file has one possible content. Throws std::system_error.
void write_moment(const std::filesystem::path& file, BlockKey root, BlockKey after,
                  const Moment& moment);

// Empty if it is no moment of this version, or damaged.
std::optional<MomentHead> read_moment_head(const std::filesystem::path& file);

// Null if the file is damaged or gone, or not what `head` says.
std::shared_ptr<const Snapshot> read_moment(const std::filesystem::path& file);

Moment moment_of(const MomentHead& head, const std::filesystem::path& file);

}  // namespace fathom::engine
