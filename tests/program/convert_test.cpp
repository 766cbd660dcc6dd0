// `fathom model convert` as a user calls it, killed and starved.
#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

const std::string kFathom = FATHOM_BUILD "/fathom";
const std::string kFolder = FATHOM_SHARED "/golden/gb/hf";

class ConvertTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!fs::exists(kFolder)) GTEST_SKIP() << "golden files missing";
  }

  // The call, after words that start it in some other way.
  Finished convert(const std::string& output, std::vector<std::string> before = {},
                   const std::vector<std::string>& flags = {}) {
    before.insert(before.end(), {kFathom, "model", "convert", kFolder, output, "--threads", "1"});
    before.insert(before.end(), flags.begin(), flags.end());
    return run_process({.argv = before, .folder = folder_.path()});
  }

  TempDir folder_;
};

TEST_F(ConvertTest, WritesFilesThatInfoAndCheckUnderstand) {
  const Finished converted = convert("out.gguf", {}, {"--type", "Q5_0", "--json"});
  ASSERT_EQ(converted.exit, 0) << converted.error;
  EXPECT_EQ(json::parse(converted.output)["files"], json({"out.mtp.gguf", "out.gguf"}));

  const Finished info = run_process(
      {.argv = {kFathom, "model", "info", "out.gguf", "--json"}, .folder = folder_.path()});
  EXPECT_TRUE(json::parse(info.output)["formats"].contains("Q5_0"));
  const Finished check =
      run_process({.argv = {kFathom, "model", "check", "out.gguf"}, .folder = folder_.path()});
  EXPECT_EQ(check.output, "ok\n");
}

// Whatever a killed call left, no file is wrong under its name, and further calls finish the work.
TEST_F(ConvertTest, SurvivesBeingKilledAtAnyMoment) {
  ASSERT_EQ(convert("whole.gguf").exit, 0);
  const std::string whole = folder_.read("whole.gguf"), mtp = folder_.read("whole.mtp.gguf");
  const fs::path output = folder_.path() / "out.gguf";
  for (const char* seconds : {"0.005", "0.01", "0.02", "0.03", "0.04", "0.05", "0.06", "0.08"}) {
    const Finished killed = convert("out.gguf", {"/usr/bin/timeout", "-s", "KILL", seconds});
    EXPECT_NE(killed.exit, 127) << killed.error;  // timeout is there
    EXPECT_TRUE(!fs::exists(output) || folder_.read("out.gguf") == whole);
    EXPECT_TRUE(!fs::exists(folder_.path() / "out.mtp.gguf") ||
                folder_.read("out.mtp.gguf") == mtp);
  }
  const bool finished = fs::exists(output);
  EXPECT_EQ(convert("out.gguf").exit, finished ? 9 : 0);
  EXPECT_EQ(folder_.read("out.gguf"), whole);
  EXPECT_EQ(folder_.read("out.mtp.gguf"), mtp);
}

TEST_F(ConvertTest, SaysThatTheDiskIsFullAndGoesOnWhenItIsNot) {
  ASSERT_EQ(convert("whole.gguf").exit, 0);
  // A limit on the size of files ends writes as a full disk does; in blocks of 512 bytes.
  const Finished full =
      convert("out.gguf", {"/bin/sh", "-c", "trap '' XFSZ; ulimit -f 4000; exec \"$@\"", "sh"});
  EXPECT_EQ(full.exit, 9);
  EXPECT_THAT(full.error, AllOf(HasSubstr("out.gguf.part: the disk is full after"),
                                HasSubstr("the same call goes on")));
  EXPECT_FALSE(fs::exists(folder_.path() / "out.gguf"));

  const Finished more = convert("out.gguf");
  EXPECT_THAT(more.output, HasSubstr("went on after"));
  EXPECT_EQ(folder_.read("out.gguf"), folder_.read("whole.gguf"));
}

TEST_F(ConvertTest, RefusesToOverwriteAndUnknownTypes) {
  folder_.write("out.gguf", "precious");
  const Finished refused = convert("out.gguf");
  EXPECT_EQ(refused.exit, 9);
  EXPECT_THAT(refused.error, HasSubstr("out.gguf: exists already"));
  EXPECT_EQ(folder_.read("out.gguf"), "precious");
  EXPECT_EQ(convert("out.gguf", {}, {"--force"}).exit, 0);
  EXPECT_EQ(convert("out.gguf", {}, {"--force", "--type", "q9_k"}).exit, 2);
}

}  // namespace
}  // namespace fathom::tests
