// The file that a fuzz target hands to a loader, and what counts as an answer.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <utility>

#include "engine/error.h"
#include "tests/support/temp_dir.h"

namespace fathom::fuzz {

// Written anew for every input. The bytes are followed by `zeros`, a hole that takes no room: a
// corpus then holds headers alone, and the tensors they announce lie inside the file all the same.
class InputFile {
 public:
  InputFile(const char* name, std::int64_t zeros) : path_(folder_.path() / name), zeros_(zeros) {}

  void write(std::span<const std::uint8_t> bytes) const {
    std::ofstream(path_, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
    std::filesystem::resize_file(path_, bytes.size() + static_cast<std::uintmax_t>(zeros_));
  }

  const tests::TempDir& folder() const noexcept { return folder_; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  tests::TempDir folder_;
  std::filesystem::path path_;
  std::int64_t zeros_;
};

// Whatever a file holds, reading it ends well or with the engine's own Error. Any other exception
// leaves this function and is a finding, as a crash is.
template <typename Read>
void expect_an_answer(Read&& read) {
  try {
    std::forward<Read>(read)();
  } catch (const engine::Error&) {
    // A sentence for the user: an answer.
  }
}

}  // namespace fathom::fuzz
