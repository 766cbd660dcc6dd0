// Kills an agent at random points of a turn and looks whether anything was lost that had been seen.
#include <algorithm>
#include <array>
#include <csignal>
#include <random>
#include <sstream>
#include <stdexcept>

#include <sys/wait.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "memory/sqlite.h"
#include "sandbox/policy.h"
#include "scripted_agent.h"
#include "tools/desk.h"
#include "ui/json_lines.h"

namespace fathom::tests {
namespace {

// What the child shows before it is killed.
class Pipe final : public agent::EventSink {
 public:
  explicit Pipe(int end) : lines_(end, ui::JsonLinesKind::all, /*deltas=*/true) {}
  void event(const agent::Event& event) override { lines_.event(event); }
  void delta(const agent::Delta& delta) override { lines_.delta(delta); }

 private:
  ui::JsonLines lines_;
};

void script(ScriptedModel& model) {
  model.replies("I look first.</think>Looking." + calls({call("read_file", {{"path", "a.txt"}}),
                                                         call("read_file", {{"path", "b"}})}));
  model.replies("Now the change.</think>" +
                calls({call("edit_file", {{"path", "a.txt"}, {"old", "one"}, {"new", "two"}})}));
  model.replies("That is all.</think>Changed one to two.");
}

// A turn of an agent in a process of its own, written to `output`.
[[noreturn]] void run_child(const std::filesystem::path& workspace,
                            const std::filesystem::path& file, int output) {
  memory::Store store(file);
  tools::Desk desk({.workspace = workspace}, sandbox::Policy());
  auto model = std::make_unique<ScriptedModel>();
  script(*model);
  Pipe sink(output);
  const agent::ModelCard card = model->card();
  agent::Conversation conversation(store, {.workspace = workspace.string(),
                                           .model = card.name,
                                           .fingerprint = card.fingerprint,
                                           .vocabulary = card.vocabulary});
  agent::AgentOptions options;
  options.workspace = workspace;
  agent::Agent agent(
      {.model = std::move(model),
       .borrowed = nullptr,
       .toolbox = std::make_unique<tools::Toolbox>(tools::standard_tools(desk)),
       .store = store,
       .sink = sink,
       .profile = {.system = "S", .tools = {}, .render_tools = false, .instructions = {}}},
      std::move(conversation), std::move(options));
  agent.run_turn({.text = "change one to two", .mode = agent::Mode::think}, {});
  ::_exit(0);
}

// Runs a child, kills it when it has written `bytes`, and returns what it wrote until then.
std::string killed_after(std::size_t bytes, const std::filesystem::path& workspace,
                         const std::filesystem::path& file) {
  std::array<int, 2> ends = {};
  if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    run_child(workspace, file, ends[1]);
  }
  ::close(ends[1]);
  std::string seen;
  std::array<char, 512> buffer = {};
  while (true) {
    const std::size_t wanted =
        seen.size() < bytes ? std::min(bytes - seen.size(), buffer.size()) : buffer.size();
    if (seen.size() >= bytes) ::kill(child, SIGKILL);
    const ssize_t count = ::read(ends[0], buffer.data(), wanted);
    if (count <= 0) break;
    seen.append(buffer.data(), static_cast<std::size_t>(count));
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return seen;
}

// The numbers of the events in whole lines.
std::vector<std::int64_t> numbers_in(const std::string& lines) {
  std::vector<std::int64_t> numbers;
  std::istringstream stream(lines);
  for (std::string line; std::getline(stream, line) && !stream.eof();) {
    const auto event = nlohmann::json::parse(line);
    if (event.contains("n")) numbers.push_back(event["n"]);
  }
  return numbers;
}

TEST(Kill, AtAnyPointLosesNothingThatWasSeenAndTheConversationGoesOn) {
  std::mt19937 random(20);
  std::size_t whole = 0;
  for (int attempt = 0; attempt <= 200; ++attempt) {
    ScriptedAgent it;
    it.workspace.write("a.txt", "one\n");
    const auto file = it.workspace.path() / ".store" / "memory.sqlite";
    // The first one lives: it tells how much there is to cut.
    const std::size_t bytes = attempt == 0 ? std::string::npos : random() % whole;
    const std::string seen = killed_after(bytes, it.workspace.path(), file);
    if (attempt == 0) whole = seen.size();
    ASSERT_GT(whole, 1000U);

    it.store = memory::Store(file);
    const auto all = it.store.list(2);
    if (all.empty()) {
      EXPECT_TRUE(numbers_in(seen).empty());
      continue;
    }
    EXPECT_EQ(memory::Database(file.string())
                  .integer("SELECT count(*) FROM pragma_quick_check "
                           "WHERE quick_check <> 'ok'"),
              0);
    const auto events = it.store.events(all[0].id);
    EXPECT_EQ(std::ssize(events), all[0].events);
    for (std::size_t n = 0; n < events.size(); ++n) {
      EXPECT_EQ(events[n].n, static_cast<std::int64_t>(n));
    }
    for (const std::int64_t n : numbers_in(seen)) EXPECT_LT(n, all[0].events);

    it.resume(all[0].id);
    it.model->replies("Where was I?</think>I am back.");
    EXPECT_EQ(it.turn("go on").text, "I am back.") << "killed after " << bytes << " bytes";
  }
}

}  // namespace
}  // namespace fathom::tests
