// The files of a workspace that a search looks at: all but those that .gitignore leaves out.
#pragma once

#include <stop_token>
#include <string>
#include <vector>

#include "sandbox/workspace.h"

namespace fathom::tools {

struct FoundFile {
  std::string path;
  std::int64_t bytes = 0;
};

struct FoundFiles {
  std::vector<FoundFile> files;  // regular files, bytewise by path
  bool all = true;               // false: there are more than the limit
};

// The files below `folder` ("" is the workspace), or `folder` itself if it is a file. `.git` is
// never entered, symbolic links are not followed. `folder` itself may be ignored: it was asked for.
sandbox::Result<FoundFiles> find_files(const sandbox::Workspace& workspace,
                                       const std::string& folder, std::stop_token stop);

}  // namespace fathom::tools
