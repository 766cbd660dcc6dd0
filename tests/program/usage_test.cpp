// What the program says about a command line that is wrong, and how its flags are checked.
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

using testing::HasSubstr;

Finished fathom(std::vector<std::string> arguments) {
  const TempDir folder;
  const std::string home = folder.path();
  Start start{
      .argv = {FATHOM_BUILD "/fathom"},
      .folder = folder.path(),
      .environment = {"XDG_DATA_HOME=" + home, "XDG_STATE_HOME=" + home, "XDG_CACHE_HOME=" + home}};
  start.argv.insert(start.argv.end(), arguments.begin(), arguments.end());
  return run_process(start);
}

// The complaint about a wrong command line, which always ends with exit code 2.
std::string complaint(std::vector<std::string> arguments) {
  const Finished run = fathom(std::move(arguments));
  EXPECT_EQ(run.exit, 2);
  EXPECT_EQ(run.output, "");
  return run.error;
}

TEST(Usage, NamesTheWordThatIsUnknownAndTheNearestOne) {
  EXPECT_EQ(complaint({"rnu", "x"}),
            "fathom: rnu is not known here; did you mean run?\n"
            "fathom --help says what there is.\n");
  EXPECT_THAT(complaint({"run", "--mdoe", "fast", "x"}),
              HasSubstr("fathom run: --mdoe is not known here; did you mean --mode?"));
  EXPECT_THAT(complaint({"run", "--max-step=3", "x"}), HasSubstr("did you mean --max-steps?"));
  EXPECT_THAT(complaint({"model", "inof"}), HasSubstr("did you mean info?"));
  EXPECT_THAT(complaint({"conv"}), HasSubstr("did you mean conversation?"));
  EXPECT_THAT(complaint({"--verion"}), HasSubstr("did you mean --version?"));
}

TEST(Usage, GuessesNothingWhereNothingIsNear) {
  EXPECT_EQ(complaint({"frobnicate"}),
            "fathom: frobnicate is not known here\n"
            "fathom --help says what there is.\n");
}

TEST(Usage, AsksForQuotesAroundATask) {
  EXPECT_THAT(complaint({"run", "fix", "the", "tests"}),
              HasSubstr("is not known here; a text of several words needs quotes"));
}

TEST(Usage, NumbersThatMeanNothingAreRefused) {
  EXPECT_THAT(complaint({"bench", "-p", "-5"}),
              HasSubstr("-p: Value -5 not in range 0 to 2147483647"));
  EXPECT_THAT(complaint({"bench", "-r", "0"}), HasSubstr("-r: "));
  EXPECT_THAT(complaint({"model", "info", "--context", "-1"}), HasSubstr("--context: "));
  EXPECT_THAT(complaint({"run", "--threads", "-1", "x"}), HasSubstr("--threads: "));
  EXPECT_THAT(complaint({"run", "--mode", "fsat", "x"}), HasSubstr("{auto,fast,think,high,max}"));
}

TEST(Usage, NumbersOutOfRangeNameWhatIsExpected) {
  EXPECT_THAT(complaint({"bench", "--verify", "99"}),
              HasSubstr("--verify: Value 99 not in range 1 to 16"));
  EXPECT_THAT(complaint({"bench", "--verify", "4,0"}), HasSubstr("Value 0 not in range 1 to 16"));
  EXPECT_THAT(complaint({"bench", "--threads", "1000000"}), HasSubstr("not in range 0 to 4096"));
  for (const char* flag : {"--think-budget", "--max-steps", "--max-tokens"}) {
    EXPECT_THAT(complaint({"run", flag, "-1", "x"}),
                HasSubstr("Value -1 not in range 0 to 2147483647"));
  }
  for (const char* flag : {"--max-seconds", "--temperature"}) {
    for (const char* value : {"-1", "nan", "inf", "warm"}) {
      EXPECT_THAT(complaint({"run", flag, value, "x"}),
                  HasSubstr(std::string(flag) + ": expected a number from 0 on, found " + value));
    }
  }
  for (const char* value : {"-5", "18446744073709551616", "1.5"}) {
    EXPECT_THAT(complaint({"run", "--seed", value, "x"}),
                HasSubstr("--seed: expected a whole number from 0 to 18446744073709551615"));
  }
  EXPECT_THAT(complaint({"conversation", "list", "--limit", "0"}), HasSubstr("not in range 1 to"));
  EXPECT_THAT(complaint({"sandbox", "exec", "--pids", "0", "--", "true"}), HasSubstr("--pids: "));
  EXPECT_THAT(complaint({"sandbox", "exec", "--timeout", "0", "--", "true"}),
              HasSubstr("--timeout: expected a number above 0, found 0"));
}

TEST(Usage, SizesAreBytesWithOrWithoutAUnit) {
  for (const char* value : {"-5", "-5G", "12Q", "many", "9223372036854775808", "9000000T"}) {
    EXPECT_THAT(complaint({"cache", "prune", "--to", value}),
                HasSubstr("--to: expected bytes from 0 on, such as 4096, 16M or 8G, found " +
                          std::string(value)));
  }
  EXPECT_THAT(complaint({"sandbox", "exec", "--memory", "0", "--", "true"}),
              HasSubstr("--memory: expected bytes from 1 on"));
  for (const char* value : {"4096", "16M", "16m", "16MB", "16MiB"}) {
    EXPECT_EQ(fathom({"cache", "prune", "--cache", ".", "--to", value}).exit, 0) << value;
  }
}

TEST(Usage, NamesOfWhatDoesNotExistAreRefused) {
  EXPECT_EQ(
      complaint({"run", "--tools", "read_file,nope", "x"}),
      "fathom: --tools: There is no tool \"nope\". Tools: run_command, read_file, write_file, "
      "edit_file, search_files.\n");
  EXPECT_THAT(complaint({"run", "--tools", "nope", "--json", "x"}), HasSubstr("\"nope\""));
  EXPECT_THAT(complaint({"bench", "--kernels", "nope"}),
              HasSubstr("--kernels: nope not in {auto,"));
  for (const char* flag : {"--cd", "--add-dir"}) {
    EXPECT_THAT(complaint({"run", flag, "/no/such/folder", "x"}),
                HasSubstr(std::string(flag) + ": /no/such/folder is not a folder"));
  }
  EXPECT_THAT(complaint({"serve", "--cd", "/no/such/folder"}), HasSubstr("is not a folder"));
  EXPECT_THAT(complaint({"sandbox", "exec", "--status-fd", "77", "--", "true"}),
              HasSubstr("--status-fd: 77 is no open descriptor"));
  EXPECT_THAT(complaint({"model", "convert", ".", "out.txt"}),
              HasSubstr("expected a name that ends in .gguf, found out.txt"));
}

TEST(Usage, StepsHaveTwoForms) {
  const std::vector<std::vector<std::string>> commands = {
      {"run", "-c", "x"}, {"conversation", "fork", "x"}, {"conversation", "rewind", "x"}};
  for (std::vector<std::string> command : commands) {
    command.insert(command.end(), {"--at", "abc"});
    EXPECT_THAT(complaint(command), HasSubstr("--at: \"abc\" is no step: give its number in the "
                                              "conversation (7), or TURN.STEP (2.3)"));
  }
}

TEST(Usage, ServeListensOnAnAddressOfThisMachineAlone) {
  for (const char* value : {"abc", "127.0.0.1:99999", "nowhere:80"}) {
    EXPECT_THAT(complaint({"serve", "--listen", value}),
                HasSubstr("--listen needs an address and a port, such as 127.0.0.1:7777"));
  }
  EXPECT_THAT(complaint({"serve", "--listen", "192.0.2.1:0"}), HasSubstr("--insecure-plain-http"));
}

TEST(Usage, PositionsLieAmongTheTokens) {
  const TempDir folder;
  folder.write("ids", "1 2 3");
  folder.write("words", "one two");
  const std::string ids = folder.path() / "ids";
  const auto logits = [](const std::string& file, const char* flag, const char* value) {
    return complaint({"debug", "logits", "--ids", file, "--out", "out", flag, value});
  };

  EXPECT_THAT(logits(ids, "--positions", "abc"), HasSubstr("found 'abc'"));
  EXPECT_THAT(logits(ids, "--positions", "7"), HasSubstr("position 7 is not among the first 3"));
  EXPECT_THAT(logits(ids, "--restore-at", "9"), HasSubstr("there are 3 tokens"));
  EXPECT_THAT(logits(folder.path() / "words", "--chunk", "1"), HasSubstr("found 'one'"));
  EXPECT_THAT(logits(folder.path(), "--chunk", "1"), HasSubstr("--ids: "));
}

TEST(Usage, BenchPrintsTheFieldsThatScriptsRead) {
  const Finished run =
      fathom({"bench", "--json", "-p", "8", "-n", "0", "-d", "0", "-r", "2", "--threads", "1"});

  ASSERT_EQ(run.exit, 0) << run.error;
  const auto line = nlohmann::ordered_json::parse(run.output);
  std::vector<std::string> fields;
  for (const auto& [field, value] : line.items()) fields.push_back(field);
  EXPECT_THAT(fields, testing::ElementsAre("model", "kernels", "threads", "p", "n", "d", "rounds",
                                           "tokens_per_s", "min", "max"));
  EXPECT_EQ(line["rounds"], 2);
}

}  // namespace
}  // namespace fathom::tests
