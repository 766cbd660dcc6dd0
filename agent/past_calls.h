// The calls of a turn and what came of them, to notice one that is sent again for nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tools/tool.h"

namespace fathom::agent {

class PastCalls {
 public:
  // Remembers a call of `step` and how it ended. If an earlier one was the same, ended the same,
  // and nothing in between can have changed anything: what the model is to read instead.
  std::optional<std::string> add(int step, const std::string& tool, const std::string& arguments,
                                 const tools::Outcome& outcome);

 private:
  struct Past {
    int step = 0;
    std::string call;
    std::string end;
  };

  std::vector<Past> since_change_;
};

}  // namespace fathom::agent
