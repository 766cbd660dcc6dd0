// What a person sees of a turn, replayed through a real terminal emulation.
#include "ui/terminal.h"

#include <algorithm>
#include <charconv>

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "tests/support/virtual_terminal.h"

namespace fathom::ui {
namespace {

using agent::Delta;
using agent::Event;
using agent::Live;
using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::ordered_json;

// A terminal view that draws into a virtual terminal and keeps every byte it wrote.
class TerminalTest : public testing::Test {
 protected:
  TerminalOptions options(int columns, bool live = true) {
    columns_ = columns;
    screen_ = std::make_unique<tests::VirtualTerminal>(24, columns);
    return {.screen = {.write = [this](std::string_view bytes) { receive(bytes); },
                       .columns = [this] { return columns_; },
                       .rows = [] { return 24; },
                       .live = live,
                       .color = live},
            .now_ms = [this] { return now_ms_ += 40; }};
  }

  void receive(std::string_view bytes) {
    bytes_ += bytes;
    std::string terminal_bytes;
    for (const char c : bytes) {
      if (c == '\n' && (terminal_bytes.empty() || terminal_bytes.back() != '\r')) {
        terminal_bytes += '\r';  // what a real tty's output processing adds
      }
      terminal_bytes += c;
    }
    screen_->write(terminal_bytes);
  }

  static Event event(const char* type, Json fields) {
    return {.n = 0, .t = 0, .type = type, .fields = std::move(fields)};
  }

  // One step that thinks, runs a failing command and answers.
  static void play(Terminal& terminal) {
    terminal.event(event("turn", {{"text", "fix the test"}}));
    terminal.live(Live{.phase = "prefill", .prefill_done = 50, .prefill_total = 100});
    terminal.live(Live{.phase = "thinking", .thinking_tokens = 3});
    for (int i = 0; i < 40; ++i) {
      terminal.delta({.item = "think", .kind = "thinking", .at = 0, .text = "words to read "});
    }
    terminal.event(event("thinking", {{"text", "Look first."}, {"tokens", 3}, {"seconds", 0.5}}));
    terminal.event(
        event("call", {{"tool", "run_command"}, {"arguments", {{"command", "python3 test.py"}}}}));
    terminal.live(Live{.phase = "running"});
    terminal.delta({.item = "out", .kind = "output", .at = 0, .text = "FAIL a\nFAIL b\n"});
    terminal.event(event("outcome", {{"status", "failed"},
                                     {"exit", 1},
                                     {"seconds", 0.1},
                                     {"text", "exit 1 · 0.1 s · run_command x\nFAIL a\nFAIL b"}}));
    terminal.event(event("text", {{"text", "The tests still fail."}}));
    terminal.event(event("result", {{"status", "unverified"},
                                    {"steps", 1},
                                    {"seconds", 2.0},
                                    {"verify", {{"exit", 1}}},
                                    {"usage", {{"sampled", 1234}, {"thinking", 3}}}}));
    terminal.finish();
  }

  std::unique_ptr<tests::VirtualTerminal> screen_;
  std::string bytes_;
  std::int64_t now_ms_ = 0;
  int columns_ = 80;
};

TEST_F(TerminalTest, LeavesTheSameScrollbackWithAndWithoutALiveRegion) {
  for (const int columns : {40, 80, 200}) {
    Terminal live(options(columns));
    play(live);
    const auto seen = screen_->lines();

    EXPECT_THAT(seen, Contains("> fix the test")) << columns;
    EXPECT_THAT(seen, Contains(AllOf(HasSubstr("run    python3 test"), HasSubstr("exit 1"))));
    EXPECT_THAT(seen, Contains("      FAIL b"));
    EXPECT_THAT(seen, Contains("The tests still fail."));
    EXPECT_THAT(seen, Contains(HasSubstr("1,234 tokens")));
    EXPECT_THAT(seen, Not(Contains(HasSubstr("prefill ▕")))) << "the live region is gone";
    EXPECT_THAT(seen, Not(Contains(HasSubstr("words to read"))));
  }
}

TEST_F(TerminalTest, FoldsThinkingToOneRowWhenItIsDone) {
  Terminal terminal(options(80));
  play(terminal);
  EXPECT_THAT(screen_->lines(), Contains("· thought 0.5 s · 3 tokens — Look first."));
}

TEST_F(TerminalTest, NeverClearsTheScrollbackNorUsesAnotherScreen) {
  Terminal terminal(options(80));
  play(terminal);
  EXPECT_THAT(bytes_, Not(HasSubstr("\x1b[3J")));
  EXPECT_THAT(bytes_, Not(HasSubstr("\x1b[?1049")));
}

TEST_F(TerminalTest, MovesTheCursorUpOnlyInsideTheLiveRegion) {
  Terminal terminal(options(40));
  play(terminal);
  const char* last = bytes_.data() + bytes_.size();
  int moves = 0;
  for (auto at = bytes_.find("\x1b["); at != std::string::npos; at = bytes_.find("\x1b[", at + 2)) {
    int rows = 0;
    const auto [end, error] = std::from_chars(bytes_.data() + at + 2, last, rows);
    if (error != std::errc() || end == last || *end != 'A') continue;
    EXPECT_LT(rows, 8) << "a third of 24 rows";
    ++moves;
  }
  EXPECT_GT(moves, 0);
}

TEST_F(TerminalTest, WritesNoControlSequenceWhereItIsPlain) {
  Terminal terminal(options(80, /*live=*/false));
  play(terminal);
  EXPECT_EQ(bytes_.find('\x1b'), std::string::npos);
  EXPECT_EQ(bytes_.find('\r'), std::string::npos);
  EXPECT_THAT(screen_->lines(), Contains("░   Look first."));
}

TEST_F(TerminalTest, LetsNoHostileTextReachTheTerminal) {
  Terminal terminal(options(80));
  const std::string hostile =
      "\x1b]0;owned\x07\x1b[2J\x1b[?1049h\xC2\x9B"
      "3J";
  terminal.delta({.item = "a", .kind = "thinking", .at = 0, .text = hostile});
  terminal.live(Live{.phase = "thinking"});
  terminal.event(event("thinking", {{"text", hostile}, {"tokens", 1}}));
  terminal.event(event("call", {{"tool", hostile}, {"arguments", {{"command", hostile}}}}));
  terminal.event(event("outcome", {{"status", "failed"}, {"text", hostile}}));
  terminal.event(event("text", {{"text", hostile}}));
  terminal.finish();

  EXPECT_FALSE(screen_->title_changed());
  EXPECT_THAT(bytes_, Not(HasSubstr("\x1b]")));
  EXPECT_THAT(bytes_, Not(HasSubstr("\x1b[2J")));
  EXPECT_THAT(bytes_, Not(HasSubstr("\x1b[?1049h")));
}

TEST_F(TerminalTest, SurvivesEventsThatLackEveryField) {
  Terminal terminal(options(80));
  for (const char* type : {"start", "turn", "prefill", "thinking", "text", "call", "outcome",
                           "denied", "note", "step", "error", "result", "unknown"}) {
    terminal.event(event(type, Json::object()));
  }
  terminal.finish();
  EXPECT_FALSE(screen_->lines().empty());
}

TEST_F(TerminalTest, ShowsADiffWithItsCounts) {
  Terminal terminal(options(80));
  terminal.event(event("call", {{"tool", "edit_file"}, {"arguments", {{"path", "a.py"}}}}));
  terminal.event(
      event("outcome", {{"status", "ok"},
                        {"text", "edit_file a.py 1-1 → 1-1"},
                        {"files",
                         {{{"path", "a.py"},
                           {"change", "modified"},
                           {"diff", "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n+x = 2\n"}}}}}));
  terminal.finish();
  EXPECT_THAT(screen_->lines(), Contains(AllOf(HasSubstr("edit   a.py"), HasSubstr("+1 −1"))));
  EXPECT_THAT(screen_->lines(), Contains("    -x = 1"));
  EXPECT_THAT(screen_->lines(), Contains("    +x = 2"));
}

TEST_F(TerminalTest, WritesAsciiAloneWhereTheLocaleIsNotUtf8) {
  for (const bool live : {true, false}) {
    TerminalOptions ascii = options(80, live);
    ascii.screen.utf8 = false;
    Terminal terminal(ascii);
    play(terminal);
    terminal.event(
        event("text", {{"text", "Na\u00efve \u201cquotes\u201d \u2192 \u65e5\u672c\u2026"}}));
    terminal.event(event("note", {{"kind", "mode"}, {"text", std::string(90, 'x')}}));
    terminal.event(event("outcome", {{"status", "denied"}}));

    const auto seen = screen_->lines();
    EXPECT_THAT(bytes_, testing::Each(AllOf(testing::Ge(0), testing::Le(127))));
    EXPECT_THAT(seen, Contains(HasSubstr("- thought 0.5 s - 3 tokens")));
    EXPECT_THAT(seen, Contains(AllOf(HasSubstr("run    python3 test"), HasSubstr("x exit 1"))));
    EXPECT_THAT(seen, Contains(R"(Naive "quotes" > ??...)"));
    EXPECT_THAT(seen, Contains("! mode: " + std::string(68, 'x') + "..."));
    EXPECT_THAT(seen, Contains(HasSubstr("!  denied")));
  }
}

TEST_F(TerminalTest, DrawsProgressInAscii) {
  TerminalOptions ascii = options(80);
  ascii.screen.utf8 = false;
  Terminal terminal(ascii);

  terminal.live(Live{.phase = "prefill", .prefill_done = 50, .prefill_total = 100});

  EXPECT_THAT(screen_->lines(), Contains(HasSubstr("prefill [##########          ] 50 of 100")));
}

TEST(IsUtf8Locale, IsDecidedByTheFirstThatIsSet) {
  EXPECT_TRUE(is_utf8_locale("", "", "en_US.UTF-8"));
  EXPECT_TRUE(is_utf8_locale("", "de_DE.utf8@euro", "C"));
  EXPECT_TRUE(is_utf8_locale("C.UTF-8", "C", "C"));
  EXPECT_FALSE(is_utf8_locale("C", "en_US.UTF-8", "en_US.UTF-8"));
  EXPECT_FALSE(is_utf8_locale("", "POSIX", "en_US.UTF-8"));
  EXPECT_FALSE(is_utf8_locale("", "", "de_DE.ISO-8859-1"));
  EXPECT_TRUE(is_utf8_locale("", "", ""));
}

TEST_F(TerminalTest, SaysOnceWhatWentWrong) {
  Terminal terminal(options(80));
  const Json error = {{"code", "budget.steps"}, {"message", "The turn took 2 steps."}};
  terminal.event(
      event("outcome", {{"status", "invalid"}, {"text", "Your last call was cut off."}}));
  terminal.event(event("error", error));
  terminal.event(event("result", {{"status", "budget"}, {"error", error}}));
  terminal.finish();

  const auto lines = screen_->lines();
  EXPECT_EQ(std::ranges::count(lines, "The turn took 2 steps."), 1);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("  call"), HasSubstr("✗ not run"))));
}

TEST_F(TerminalTest, GivesEachOutcomeOfAStepTheTitleOfItsCall) {
  Terminal terminal(options(80));
  terminal.event(
      event("call", {{"call", 1}, {"tool", "read_file"}, {"arguments", {{"path", "a.py"}}}}));
  terminal.event(
      event("call", {{"call", 2}, {"tool", "read_file"}, {"arguments", {{"path", "b.py"}}}}));
  terminal.event(event("outcome", {{"call", 1}, {"status", "ok"}, {"text", ""}}));
  terminal.event(event("outcome", {{"call", 2}, {"status", "failed"}, {"text", "no b"}}));
  terminal.finish();

  EXPECT_THAT(screen_->lines(), Contains(AllOf(HasSubstr("read   a.py"), HasSubstr("✓"))));
  EXPECT_THAT(screen_->lines(), Contains(AllOf(HasSubstr("read   b.py"), HasSubstr("✗ failed"))));
}

TEST_F(TerminalTest, ShowsADenialAsAnEventOfItsOwn) {
  Terminal terminal(options(40));
  terminal.event(event("call", {{"tool", "write_file"}, {"arguments", {{"path", "/etc/hosts"}}}}));
  terminal.event(event("outcome", {{"status", "denied"}, {"text", "denied: write to …"}}));
  terminal.event(event("denied", {{"say",
                                   "The model tried to write /etc/hosts, which is outside the "
                                   "workspace. Nothing was changed."},
                                  {"rule", "outside"},
                                  {"count", 3}}));
  terminal.finish();

  EXPECT_THAT(screen_->lines(), Contains(HasSubstr("⛔ denied")));
  EXPECT_THAT(screen_->lines(), Not(Contains(HasSubstr("denied: write"))));
  EXPECT_THAT(screen_->lines(), Contains("      workspace. Nothing was changed."));
  EXPECT_THAT(screen_->lines(), Contains("      rule: outside · 3 times"));
}

}  // namespace
}  // namespace fathom::ui
