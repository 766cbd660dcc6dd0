// What the text files of a workspace held at one moment, to tell later what changed.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/tool.h"

namespace fathom::sandbox {
class Workspace;
}

namespace fathom::tools {

// Commands change files as well as file tools do, so the files themselves are compared. Left out
// are .git, symlinks and binary files. In a workspace beyond the limits (10,000 files, 32 MiB) only
// the files that were noted are compared.
class Snapshot {
 public:
  // Reads the workspace. Throws sandbox::Error if it cannot be opened.
  explicit Snapshot(const std::filesystem::path& workspace);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // What a call changed: keeps what the file held before, unless that is known already.
  void note(const FileChange& change);

  // Every file that differs now, by path.
  std::vector<FileChange> changes() const;

  bool whole() const noexcept { return whole_; }  // every file is compared

 private:
  struct File {
    std::int64_t bytes = 0;
    std::int64_t modified_ns = 0;
    std::string text;
    bool existed = true;
    bool noted = false;  // modified_ns means nothing: compare the text
  };

  void take();

  std::unique_ptr<sandbox::Workspace> workspace_;
  std::map<std::string, File> files_;  // by path
  bool whole_ = true;
};

}  // namespace fathom::tools
