// The program as people start it: with the embedded model, in a project and a home of a test's own.
#pragma once

#include <string>
#include <vector>

#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {

class Program {
 public:
  const TempDir& project() const noexcept { return project_; }  // where it is started
  const TempDir& home() const noexcept { return home_; }        // its data, and its cache in cache/

  Start command(const std::vector<std::string>& arguments) const {
    Start start{.argv = {FATHOM_BUILD "/fathom"},
                .folder = project_.path(),
                .environment = {"XDG_DATA_HOME=" + home_.path().string(),
                                "XDG_CACHE_HOME=" + (home_.path() / "cache").string(),
                                "FATHOM_MODEL=", "FATHOM_CACHE="}};
    start.argv.insert(start.argv.end(), arguments.begin(), arguments.end());
    return start;
  }
  Finished run(const std::vector<std::string>& arguments) const {
    return run_process(command(arguments));
  }

 private:
  TempDir project_;
  TempDir home_;
};

}  // namespace fathom::tests
