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
  Start start{.argv = {FATHOM_BUILD "/fathom"}, .folder = folder.path(), .environment = {}};
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
