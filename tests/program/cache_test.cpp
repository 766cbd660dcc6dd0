// What is computed once is not computed again, as people meet it: the program and its small model.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "memory/store.h"
#include "support/program.h"

namespace fathom::tests {
namespace {

using testing::HasSubstr;
using Json = nlohmann::ordered_json;

constexpr const char* kTask = "The tests fail. Fix them.";

class Cache : public testing::Test {
 protected:
  Cache() { break_project(); }

  void break_project() const {
    using std::filesystem::copy_options;
    std::filesystem::copy(FATHOM_SOURCE "/examples/broken_project", project_.path(),
                          copy_options::recursive | copy_options::overwrite_existing);
  }

  Start command(const std::vector<std::string>& arguments) const {
    return program_.command(arguments);
  }
  Finished fathom(const std::vector<std::string>& arguments) const {
    return program_.run(arguments);
  }

  // The events that a run gives, in whole lines.
  static std::vector<Json> all_events(const Finished& run) {
    std::vector<Json> found;
    std::istringstream stream(run.output);
    for (std::string line; std::getline(stream, line) && !stream.eof();) {
      found.push_back(Json::parse(line));
    }
    return found;
  }
  static std::vector<Json> events(const Finished& run, std::string_view type) {
    std::vector<Json> found = all_events(run);
    std::erase_if(found, [&](const Json& event) { return event["type"] != type; });
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

  Program program_;
  const TempDir& project_ = program_.project();
  const TempDir& home_ = program_.home();
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

TEST_F(Cache, TellsWhatAnotherSystemTextCostsBeforeItIsPaid) {
  fathom({"run", "--json", "--max-steps", "3", kTask});
  const int before = tokens_of(latest());

  const Finished other = fathom({"run", "--json", "-c", "--append-system", "Be brief.",
                                 "--explain-cache", "--max-steps", "1", "Go on."});

  const Json costs = events(other, "cache").at(0);
  const Json prefill = events(other, "prefill").at(0);
  EXPECT_EQ(costs["kind"], "costs");
  EXPECT_EQ(costs["changed"], "the system text");
  EXPECT_LT(costs["n"], prefill["n"]);
  EXPECT_GT(costs["seconds"], 0.0);
  EXPECT_GT(costs["tokens"], before / 4);
  EXPECT_LE(costs["tokens"], prefill["done"]);
  // The rest is new: the last outcome and the message.
  EXPECT_LT(prefill["done"].get<int>() - costs["tokens"].get<int>(), 200);
  EXPECT_THAT(other.error, HasSubstr("cache: The system text changed: "));
  EXPECT_EQ(fathom({"conversation", "replay", latest()}).exit, 0) << "each under its own opening";
}

TEST_F(Cache, ResumesWithTheToolsThatAConversationBeganWith) {
  fathom({"run", "--json", "--tools", "read_file", "--max-steps", "1", kTask});
  const Finished next = fathom({"run", "--json", "-c", "--max-steps", "1", "Go on."});
  EXPECT_EQ(events(next, "start").at(0)["tools"], Json::array({"read_file"}));
}

TEST_F(Cache, SwitchesOpenersForNothing) {
  fathom({"run", "--json", "--mode", "think", "--max-steps", "1", kTask});
  for (const char* mode : {"fast", "auto", "think"}) {
    const int before = tokens_of(latest());
    const Finished next =
        fathom({"run", "--json", "-c", "--mode", mode, "--max-steps", "1", "Go on."});
    EXPECT_GE(events(next, "prefill").at(0)["reused"], before - kEndTokens) << mode;
  }
}

TEST_F(Cache, TakesUpAConversationByItsWords) {
  fathom({"run", "--json", "--max-steps", "1", kTask});
  const std::string id = latest();
  fathom({"run", "--json", "--max-steps", "1", "Say what is in kettle.py."});
  const Finished next = fathom({"run", "--json", "-r", "tests FAIL", "--max-steps", "1", "Go on."});
  EXPECT_EQ(events(next, "start").at(0)["conversation"], id);
}

TEST_F(Cache, TellsOfDamageAndComputesItAgain) {
  fathom({"run", "--json", "--max-steps", "20", kTask});
  for (const auto& entry : std::filesystem::directory_iterator(folder())) {
    if (entry.path().extension() != ".rows") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(5000);
    file.put('?');
  }
  const Finished next = fathom({"run", "--json", "-c", "--max-steps", "1", "Is it done?"});
  EXPECT_EQ(events(next, "cache").at(0)["kind"], "damaged");
  EXPECT_EQ(events(next, "result").size(), 1U);
  EXPECT_EQ(fathom({"conversation", "replay", latest()}).exit, 0);
}

TEST_F(Cache, ReplaysEveryIdOfAConversation) {
  fathom({"run", "--json", "--max-steps", "20", "--temperature", "0.7", "--seed", "5", kTask});
  fathom({"run", "--json", "-c", "--max-steps", "2", "--think-budget", "5", "Is it done?"});

  const Finished replay = fathom({"conversation", "replay", latest()});

  EXPECT_EQ(replay.exit, 0) << replay.output << replay.error;
  EXPECT_THAT(replay.output, testing::Not(HasSubstr("differs")));
  EXPECT_THAT(replay.output, HasSubstr("step 2.1"));
}

unsigned number_from(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

// The long suite kills a thousand times. What a run has written says how far it is, so a random
// number of bytes is a random point of it.
TEST_F(Cache, LosesNothingAndGoesOnRightWhereverItIsKilled) {
  const unsigned seed = number_from("FATHOM_KILL_SEED", 1);
  const unsigned kills = number_from("FATHOM_KILLS", 3);
  const std::vector<std::string> task = {"run",         "--json", "--include-deltas",
                                         "--max-steps", "4",      kTask};
  const std::size_t whole = fathom(task).output.size();
  ASSERT_GT(whole, 1000U);
  unsigned killed = 0;
  for (unsigned i = 0; i < kills && !HasFailure(); ++i) {
    SCOPED_TRACE("again: FATHOM_KILLS=1 FATHOM_KILL_SEED=" + std::to_string(seed + i) + " " +
                 std::filesystem::read_symlink("/proc/self/exe").string() +
                 " --gtest_filter='Cache.LosesNothing*'");
    std::mt19937 random(seed + i);
    break_project();
    Start start = command(task);
    start.on_output = [bytes = random() % whole](pid_t child, std::string_view output) {
      if (output.size() > bytes) ::kill(child, SIGKILL);
    };
    const Finished cut = run_process(start);
    killed += cut.exit == 128 + SIGKILL ? 1 : 0;

    const std::string id = latest();
    const auto stored = store().events(id);
    for (std::size_t n = 0; n < stored.size(); ++n) {
      EXPECT_EQ(stored[n].n, static_cast<std::int64_t>(n));
    }
    for (const Json& event : all_events(cut)) {
      if (event.contains("n")) {
        EXPECT_LT(event["n"], std::ssize(stored));
      }
    }
    const Finished next = fathom({"run", "--json", "-r", id, "--max-steps", "1", "Go on."});
    EXPECT_EQ(events(next, "result").size(), 1U) << next.error;
    const Finished replay = fathom({"conversation", "replay", id});
    EXPECT_EQ(replay.exit, 0) << replay.output;
    const Finished verify = fathom({"cache", "verify"});
    EXPECT_EQ(verify.exit, 0) << verify.output;
  }
  std::printf("%u of %u runs were killed in the middle\n", killed, kills);
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

// Runs the program with the cache on a file system of 64 KB, or on a read-only one.
class OnAFileSystem : public Cache {
 protected:
  Finished fathom_on(const std::string& mount) const {
    const std::filesystem::path place = home_.path() / "mounted";
    std::filesystem::create_directories(place);
    Start start = command({});
    start.argv = {"unshare",
                  "--user",
                  "--map-root-user",
                  "--mount",
                  "sh",
                  "-c",
                  mount + " '" + place.string() + "' && exec " + start.argv[0] +
                      " run --json --max-steps 3 --cache '" + place.string() + "/kv' '" + kTask +
                      "'"};
    return run_process(start);
  }
  static bool may_mount() {
    return run_process(
               {.argv = {"/usr/bin/unshare", "--user", "--map-root-user", "--mount", "true"}})
               .exit == 0;
  }
  void expect_one_trouble(const Finished& run) {
    std::vector<Json> trouble = events(run, "cache");
    std::erase_if(trouble, [](const Json& event) { return event["kind"] != "trouble"; });
    ASSERT_EQ(trouble.size(), 1U) << run.output << run.error;
    EXPECT_THAT(trouble[0]["text"].get<std::string>(), HasSubstr("mounted/kv"));
    EXPECT_EQ(events(run, "step").size(), 3U);
  }
};

TEST_F(OnAFileSystem, GoesOnWhenTheDiskIsFullAndSaysSoOnce) {
  if (!may_mount()) GTEST_SKIP() << "no user namespaces to mount a small file system in";
  expect_one_trouble(fathom_on("mount -t tmpfs -o size=64k none"));
}

TEST_F(OnAFileSystem, GoesOnInAReadOnlyFolderAndSaysSoOnce) {
  if (!may_mount()) GTEST_SKIP() << "no user namespaces to mount a read-only file system in";
  expect_one_trouble(fathom_on("mount -t tmpfs -o ro none"));
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
