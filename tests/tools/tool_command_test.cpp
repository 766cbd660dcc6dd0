// `fathom tool` as a person calls it.
#include <gmock/gmock.h>

#include "test_paths.h"
#include "tests/support/temp_dir.h"
#include "tests/tools/process.h"

namespace fathom::tools {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ToolCommand : public ::testing::Test {
 protected:
  ProcessResult tool(const std::string& rest) {
    return run_process("XDG_STATE_HOME=" + state_.path().string() +
                       " " FATHOM_BUILD "/fathom tool --workspace " + folder_.path().string() +
                       " " + rest + " 2>&1");
  }

  tests::TempDir folder_;
  tests::TempDir state_;
};

TEST_F(ToolCommand, PrintsTheOutcomeAsTheModelGetsIt) {
  folder_.write("a.txt", "one\ntwo\n");

  const auto result = tool("read_file path=a.txt from=2");

  EXPECT_EQ(result.exit, 0);
  EXPECT_EQ(result.output, "read_file a.txt 2-2 of 2\n2 two\n");
  EXPECT_EQ(tool("edit_file path=a.txt lines=1 new=1").output,
            "edit_file a.txt 1-1 → 1-1\n1 1\n2 two\n");
  EXPECT_EQ(tool(R"(read_file --arguments '{"path":"a.txt","to":1}')").output,
            "read_file a.txt 1-1 of 2\n1 1\n");
}

TEST_F(ToolCommand, ReadsValuesFromFilesAndStandardInput) {
  const auto value = folder_.write("value", "from a file\n");

  EXPECT_EQ(tool("write_file path=a text=@" + value.string()).exit, 0);
  EXPECT_EQ(folder_.read("a"), "from a file\n");
  EXPECT_EQ(run_process("echo piped | " FATHOM_BUILD "/fathom tool write_file path=b text=@- -C " +
                        folder_.path().string())
                .exit,
            0);
  EXPECT_EQ(folder_.read("b"), "piped\n");
}

TEST_F(ToolCommand, TellsRefusalsFromMisuse) {
  EXPECT_EQ(tool("read_file path=none").exit, 1);
  EXPECT_EQ(tool("grep pattern=x").exit, 1);
  EXPECT_EQ(tool("read_file path=a from=x").output,
            "read_file needs from (integer). Got: path, from (string).\n");
  const auto misuse = tool("read_file path");
  EXPECT_EQ(misuse.exit, 2);
  EXPECT_THAT(misuse.output, StartsWith("fathom tool: \"path\" is no key=value\nUsage: "));
  EXPECT_EQ(tool("read_file path=@/no/such/file").exit, 2);
  EXPECT_EQ(tool("read_file path=a --arguments '{}'").exit, 2);
  const auto bytes = folder_.write("latin1", "caf\xE9\n");
  const auto no_text = tool("write_file path=copy text=@" + bytes.string());
  EXPECT_EQ(no_text.exit, 2);
  EXPECT_THAT(no_text.output, HasSubstr("text: not UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "copy"));
}

TEST_F(ToolCommand, SendsNoControlSequenceToATerminal) {
  folder_.write("evil", "\x1b]0;title\x07text\n");

  const auto shown =
      run_process("script -qec '" FATHOM_BUILD "/fathom tool read_file path=evil -C " +
                  folder_.path().string() + "' /dev/null");

  EXPECT_THAT(shown.output, HasSubstr("1 ␛]0;title␇text"));
  EXPECT_EQ(tool("read_file path=evil").output,
            "read_file evil 1-1 of 1\n1 \x1b]0;title\x07text\n");
}

TEST_F(ToolCommand, ListsToolsAndSchemas) {
  const auto list = tool("");
  EXPECT_EQ(list.exit, 0);
  EXPECT_THAT(list.output, StartsWith("run_command   writes  Run a shell command"));
  EXPECT_THAT(tool("search_files --schema").output, StartsWith("{\"name\":\"search_files\","));
}

}  // namespace
}  // namespace fathom::tools
