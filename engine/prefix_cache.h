// What sessions of one engine have computed, shared between them and, if asked, between runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"

namespace fathom::engine {

struct PrefixCacheOptions {
  // Beyond what live sessions use. 4 GiB hold 64 steps and half a million tokens of V4-Flash.
  std::int64_t memory_bytes = std::int64_t{4} << 30;
  std::filesystem::path folder = {};  // empty: nothing is kept on disk
  std::int64_t disk_bytes = std::int64_t{64} << 30;
  // Rows of a prefix on disk of this size and more are checked and mapped, which takes no memory
  // and half the time; smaller ones are copied and then owe nothing to their files.
  std::int64_t map_from_bytes = std::int64_t{64} << 20;
  // Told once, from any thread, when the folder cannot be used; may be empty. The cache goes on in
  // memory.
  std::function<void(const std::string& why)> on_trouble = {};
};

struct CacheUse {
  std::int64_t memory_blocks = 0, memory_moments = 0, memory_bytes = 0;
  std::int64_t disk_blocks = 0, disk_moments = 0, disk_bytes = 0;
  std::int64_t dropped = 0;  // damaged on disk, found before use
};

// Safe to use from several threads. Lives as long as a session that was given it.
class PrefixCache {
 public:
  // $XDG_CACHE_HOME/fathom/kv, else ~/.cache/fathom/kv; empty if neither is set.
  static std::filesystem::path default_folder();

  // Never throws for the folder's sake: what is wrong with it goes to on_trouble.
  PrefixCache(const Engine& engine, PrefixCacheOptions options);
  ~PrefixCache();  // writes what is queued
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  CacheUse use() const;

  // Waits until all that was remembered so far is on disk, or cannot be.
  void flush();

  class Parts;  // what sessions work on
  Parts& parts() noexcept;

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace fathom::engine
