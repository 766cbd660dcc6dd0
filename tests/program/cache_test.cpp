// What is computed once is not computed again, as people meet it: the program and its small model.
#include <algorithm>
#include <csignal>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "memory/store.h"
#include "support/process.h"
#include "support/temp_dir.h"
#include "test_paths.h"

namespace fathom::tests {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr const char* kTask = "The tests fail. Fix them.";

class Cache : public testing::Test {
 protected:
  Cache() {
    std::filesystem::copy(FATHOM_SOURCE "/examples/broken_project", project_.path(),
                          std::filesystem::copy_options::recursive);
  }

  Start command(std::vector<std::string> arguments) const {
    Start start{.argv = {FATHOM_BUILD "/fathom"},
                .folder = project_.path(),
                .environment = {"XDG_DATA_HOME=" + home_.path().string(),
                                "XDG_CACHE_HOME=" + (home_.path() / "cache").string(),
                                "FATHOM_MODEL=", "FATHOM_CACHE="}};
    start.argv.insert(start.argv.end(), arguments.begin(), arguments.end());
    return start;
  }
  Finished fathom(std::vector<std::string> arguments) const {
    return run_process(command(std::move(arguments)));
  }

  // The events of one type that a run gives.
  static std::vector<Json> events(const Finished& run, std::string_view type) {
    std::vector<Json> found;
    std::istringstream stream(run.output);
    for (std::string line; std::getline(stream, line) && !stream.eof();) {
      Json event = Json::parse(line);
      if (event["type"] == type) found.push_back(std::move(event));
    }
    return found;
  }
  std::string latest() const { return store().list(1).at(0).id; }
  memory::Store store() const { return memory::Store(home_.path() / "fathom" / "memory.sqlite"); }
  std::filesystem::path folder() const { return home_.path() / "cache" / "fathom" / "kv" / "v1"; }

  // Tokens of a conversation that no session has computed: the last reply's end is never fed.
  int tokens_of(const std::string& id) const {
    int count = 0;
    for (const auto& piece : store().tokens(id)) count += static_cast<int>(piece.tokens.size());
    return count;
  }

  TempDir project_;
  TempDir home_;
};

// At most these end a reply without being fed: the last token of a block, </think> where it was
// cut, EOS.
constexpr int kEndTokens = 3;

TEST_F(Cache, ARestartedConversationPrefillsOnlyWhatIsNew) {
  fathom({"run", "--json", "--max-steps", "20", kTask});
  const int before = tokens_of(latest());

  const Finished next = fathom({"run", "--json", "-c", "--max-steps", "1", "Is it done?"});

  const Json prefill = events(next, "prefill").at(0);
  EXPECT_GE(prefill["reused"], before - kEndTokens);
  EXPECT_EQ(prefill["done"].get<int>() + prefill["reused"].get<int>(), prefill["total"]);
  EXPECT_EQ(events(next, "cache").at(0)["kind"], "restored");
  const Json usage = events(next, "result").at(0)["usage"];
  EXPECT_GT(usage["reused_disk"], 0);
  EXPECT_EQ(usage["reused"], usage["reused_disk"].get<int>() + usage["reused_memory"].get<int>());
}

TEST_F(Cache, AForkAndARewindPrefillOnlyWhatIsNew) {
  fathom({"run", "--json", "--max-steps", "20", kTask});
  const std::string id = latest();
  const int whole = tokens_of(id);

  const Finished fork =
      fathom({"run", "--json", "-r", id, "--fork", "--max-steps", "1", "Another way."});
  EXPECT_GE(events(fork, "prefill").at(0)["reused"], whole - kEndTokens);
  EXPECT_EQ(tokens_of(id), whole);

  const Finished rewind = fathom({"conversation", "rewind", id, "--at", "2", "--json"});
  const std::string branch = Json::parse(rewind.output)["branch"];
  EXPECT_EQ(tokens_of(branch), whole);
  const int kept = tokens_of(id);
  EXPECT_LT(kept, whole);
  const Finished again = fathom({"run", "--json", "-r", id, "--max-steps", "1", "Go on."});
  EXPECT_GE(events(again, "prefill").at(0)["reused"], kept - kEndTokens);
}

TEST_F(Cache, ASecondConversationSharesTheSystemText) {
  std::ofstream(project_.path() / "AGENTS.md") << std::string(600, 'a') << "\n";
  fathom({"run", "--json", "--max-steps", "1", kTask});
  const Finished second =
      fathom({"run", "--json", "--max-steps", "1", "Say what is in kettle.py."});

  const Json prefill = events(second, "prefill").at(0);
  EXPECT_LT(prefill["done"], 60);
  EXPECT_GT(prefill["reused"], 50);
}

TEST_F(Cache, SaysWhyAPromptIsNotReused) {
  fathom({"run", "--json", "--max-steps", "1", kTask});
  const Finished other =
      fathom({"run", "--json", "--explain-cache", "--max-steps", "1", "The tests fail. Why?"});

  const Json differs = events(other, "prefill").at(0)["differs"];
  EXPECT_EQ(differs["part"], "the message of turn 1");
  EXPECT_THAT(differs["before"].get<std::string>(), HasSubstr("Fix"));
  EXPECT_THAT(differs["here"].get<std::string>(), HasSubstr("Why"));
  EXPECT_THAT(other.error, HasSubstr("in the message of turn 1"));
}

TEST_F(Cache, ReplaysEveryIdOfAConversation) {
  fathom({"run", "--json", "--max-steps", "20", "--temperature", "0.7", "--seed", "5", kTask});
  fathom({"run", "--json", "-c", "--max-steps", "2", "--think-budget", "5", "Is it done?"});

  const Finished replay = fathom({"conversation", "replay", latest()});

  EXPECT_EQ(replay.exit, 0) << replay.output << replay.error;
  EXPECT_THAT(replay.output, testing::Not(HasSubstr("differs")));
  EXPECT_THAT(replay.output, HasSubstr("step 2.1"));
}

TEST_F(Cache, GoesOnRightAfterBeingKilledInTheMiddleOfATurn) {
  for (const std::size_t bytes : {2000U, 9000U, 16000U}) {
    Start start = command({"run", "--json", "--include-deltas", "--max-steps", "20", kTask});
    start.on_output = [bytes](pid_t child, std::string_view output) {
      if (output.size() > bytes) ::kill(child, SIGKILL);
    };
    run_process(start);
    const Finished next = fathom({"run", "--json", "-c", "--max-steps", "1", "Go on."});
    EXPECT_EQ(events(next, "result").size(), 1U) << next.error;
    EXPECT_EQ(fathom({"conversation", "replay", latest()}).exit, 0);
    EXPECT_EQ(fathom({"cache", "verify"}).exit, 0);
  }
}

TEST_F(Cache, IsListedCheckedAndPruned) {
  fathom({"run", "--json", "--max-steps", "4", kTask});
  EXPECT_THAT(fathom({"cache", "list"}).output, HasSubstr("tokens"));
  EXPECT_GT(Json::parse(fathom({"cache", "stat", "--json"}).output)["blocks"], 0);
  EXPECT_EQ(fathom({"cache", "verify"}).exit, 0);
  EXPECT_EQ(Json::parse(fathom({"cache", "prune", "--json"}).output)["removed"], 0);

  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    if (entry.path().extension() != ".rows") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5000);
    file.put('?');
  }
  EXPECT_EQ(fathom({"cache", "verify"}).exit, 1);
  fathom({"cache", "prune", "--all"});
  EXPECT_TRUE(std::filesystem::is_empty(folder()));
}

TEST_F(Cache, KeepsNothingOnDiskWhenItIsAskedNotTo) {
  fathom({"run", "--ephemeral", "--max-steps", "1", kTask});
  fathom({"run", "--cache-disk", "0", "--max-steps", "1", kTask});
  EXPECT_FALSE(std::filesystem::exists(home_.path() / "cache"));
}

TEST_F(Cache, GoesOnWithoutAFolderItCannotHave) {
  const Finished run =
      fathom({"run", "--json", "--cache", "/proc/nowhere", "--max-steps", "2", kTask});
  const auto trouble = events(run, "cache");
  ASSERT_EQ(trouble.size(), 1U) << run.output;
  EXPECT_EQ(trouble[0]["kind"], "trouble");
  EXPECT_EQ(events(run, "step").size(), 2U);
}

}  // namespace
}  // namespace fathom::tests
