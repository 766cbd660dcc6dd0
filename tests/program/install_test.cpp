// What `cmake --install` puts into a folder works from there, without the tree it was built in.
#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/mounts.h"
#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {
namespace {

using testing::HasSubstr;

// Empty folders lie over build and source.
constexpr const char* kHideTree = "mount -t tmpfs none \"$0\" && mount -t tmpfs none \"$1\"";
const std::vector<std::string> kTree = {FATHOM_BUILD, FATHOM_SOURCE};

class Install : public testing::Test {
 protected:
  void SetUp() override {
    if (!can_mount(kHideTree, kTree)) GTEST_SKIP() << "no mount namespace of one's own here";
    std::filesystem::copy(FATHOM_SOURCE "/examples/broken_project", folder_.path() / "project",
                          std::filesystem::copy_options::recursive);
    const Finished installed = run_process(
        {.argv = {CMAKE_PROGRAM, "--install", FATHOM_BUILD, "--prefix", prefix().string()}});
    ASSERT_EQ(installed.exit, 0) << installed.error;
  }

  std::filesystem::path prefix() const { return folder_.path() / "prefix"; }

  Start command(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), prefix() / "bin/fathom");
    return {
        .argv = with_mounts(kHideTree, kTree, arguments),
        .folder = folder_.path() / "project",
        .environment = {"HOME=" + (folder_.path() / "home").string(), "XDG_DATA_HOME=",
                        "XDG_STATE_HOME=", "XDG_CACHE_HOME=", "FATHOM_MODEL=", "FATHOM_CACHE="}};
  }

  Finished fathom(const std::vector<std::string>& arguments) const {
    return run_process(command(arguments));
  }

  TempDir folder_;
};

TEST_F(Install, PutsTheProgramTheHeadersThePackageAndTheManualPage) {
  const Finished version = fathom({"--version"});

  EXPECT_THAT(version.output, testing::StartsWith("fathom 0.")) << version.error;
  EXPECT_THAT(folder_.read("prefix/share/man/man1/fathom.1"), HasSubstr(".TH FATHOM 1"));
  EXPECT_TRUE(std::filesystem::exists(prefix() / "include/fathom/engine/engine.h"));
  EXPECT_TRUE(std::filesystem::exists(prefix() / "lib/cmake/fathom/fathom-config.cmake"));
}

TEST_F(Install, RunsToolsAndCommandsInTheSandbox) {
  EXPECT_THAT(fathom({"tool"}).output, HasSubstr("run_command"));
  EXPECT_THAT(fathom({"tool", "read_file", "path=kettle.py"}).output, HasSubstr("def "));
  const Finished check = fathom({"sandbox", "check"});
  EXPECT_EQ(check.exit, 0) << check.output << check.error;
  const Finished command = fathom({"sandbox", "exec", "--", "sh", "-c", "ls; exit 7"});
  EXPECT_EQ(command.exit, 7) << command.error;
  EXPECT_THAT(command.output, HasSubstr("kettle.py"));
}

TEST_F(Install, DoesATaskWithTheModelThatComesAlong) {
  const Finished run =
      fathom({"run", "--json", "--verify", "python3 test_kettle.py", "The tests fail. Fix them."});

  EXPECT_EQ(run.exit, 0) << run.output << run.error;
  EXPECT_THAT(run.output, HasSubstr(R"("status":"answered","exit":0)"));
}

TEST_F(Install, ServesThePage) {
  Start serve = command({"serve", "--listen", "127.0.0.1:0"});
  Finished page;
  serve.on_output = [&page](pid_t server, std::string_view output) {
    if (output.find('\n') == std::string_view::npos) return;
    const std::string url(output.substr(0, output.find('#')));
    page = run_process({.argv = {"python3", "-c",
                                 "import gzip, sys, urllib.request\n"
                                 "page = urllib.request.urlopen(sys.argv[1]).read()\n"
                                 "print(gzip.decompress(page).decode())",
                                 url}});
    ::kill(server, SIGTERM);
  };

  EXPECT_EQ(run_process(serve).exit, 0);
  EXPECT_THAT(page.output, HasSubstr("<title>")) << page.error;
}

}  // namespace
}  // namespace fathom::tests
