// A workspace on the disk with the standard tools over it, as a conversation has them.
#pragma once

#include <memory>
#include <string>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/support/temp_dir.h"
#include "tools/desk.h"
#include "tools/toolbox.h"

namespace fathom::tools {

class DeskTest : public ::testing::Test {
 protected:
  DeskTest() { open({}); }

  // Starts over, as another conversation or by hand. The workspace and the kept texts are given.
  void open(DeskOptions options, const sandbox::Policy& policy = {}) {
    options.workspace = folder_.path();
    options.kept = kept_.path();
    toolbox_.reset();
    desk_ = std::make_unique<Desk>(std::move(options), policy);
    toolbox_ = std::make_unique<Toolbox>(standard_tools(*desk_));
  }

  Outcome call(const std::string& tool, const nlohmann::ordered_json& arguments) {
    return toolbox_->run(tool, arguments.dump());
  }
  std::string text(const std::string& tool, const nlohmann::ordered_json& arguments) {
    return call(tool, arguments).text;
  }

  void write(const std::string& path, std::string_view text) { folder_.write(path, text); }
  std::string read(const std::string& path) const { return folder_.read(path); }

  tests::TempDir folder_;
  tests::TempDir kept_;
  std::unique_ptr<Desk> desk_;
  std::unique_ptr<Toolbox> toolbox_;
};

}  // namespace fathom::tools
