// A file that appears under its name when it is complete, and is taken up again if it was not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "engine/cache/file_io.h"

namespace fathom::engine {

// NAME.part until finish(). The beginning, a header, says what the file will be: what lies there is
// kept only if it begins with the same header.
class PartFile {
 public:
  // Opens what is there or creates it, and locks it. Throws Error if another process writes it or
  // the folder does not allow it.
  PartFile(std::filesystem::path target, std::string header);

  // Bytes that are there: the header alone, unless an earlier file with the same one goes on.
  std::int64_t size() const noexcept { return size_; }

  // Cuts the file off after `size` bytes, at least the header, and goes on from there.
  void resume_at(std::int64_t size);

  // Appends. Throws Error that says what to do when the disk is full.
  void append(std::span<const std::byte> bytes);

  // Waits until everything is on the disk.
  void flush();

  // Gives the file its name. Throws Error if it is taken and must not be replaced.
  void finish(bool overwrite);

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path target_;
  std::filesystem::path path_;
  Descriptor file_;
  std::int64_t size_ = 0;
};

// Bytes the file system around `file` has left for this user.
std::int64_t free_bytes(const std::filesystem::path& file);

}  // namespace fathom::engine
