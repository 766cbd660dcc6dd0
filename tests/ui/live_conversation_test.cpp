// A client that reads frames from any cursor, however it was cut off before, ends with the same
// model as one that read everything.
#include "ui/server/live_conversation.h"

#include <chrono>
#include <map>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "scripted_turn.h"

namespace fathom::ui {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;

// What a page keeps: stored events and the bytes of open items.
struct Reader {
  std::vector<std::string> events;
  std::map<std::string, std::string> open;
  std::int64_t skipped = 0;
  int frames = 0;
  std::size_t largest = 0;

  void read(const std::string& text) {
    const Json frame = Json::parse(text);
    ++frames;
    largest = std::max(largest, text.size());
    if (frame["f"] == "ev") {
      for (const Json& event : frame["list"]) {
        ASSERT_EQ(event["n"], events.size());
        events.push_back(event.dump());
      }
    }
    if (frame["f"] != "d") return;
    for (const Json& delta : frame["list"]) {
      std::string& held = open[delta["i"]];
      ASSERT_EQ(delta["at"], held.size() + static_cast<std::size_t>(skipped));
      skipped += delta.value("skip", std::int64_t{0});
      held += delta["s"].get<std::string>();
    }
  }

  Subscription subscription() const {
    Subscription subscription{.conversation = "01C",
                              .n = std::ssize(events) - 1,
                              .open = {},
                              .want = {},
                              .from_step = std::nullopt};
    for (const auto& [item, text] : open) {
      subscription.open[item] = std::ssize(text);
    }
    return subscription;
  }
};

struct LiveConversationTest : testing::Test {
  LiveConversation conversation{"01C", [] {}};
  Clock::time_point now{};

  void read_all(Reader& reader, Cursor& cursor) {
    for (auto frames = conversation.cut(cursor, now); !frames.empty();
         frames = conversation.cut(cursor, now)) {
      for (const std::string& frame : frames) reader.read(frame);
      now += milliseconds(33);
    }
  }

  void grow(const std::string& item, const std::string& kind, const std::string& text) {
    conversation.delta(
        {.item = item, .kind = kind, .turn = 1, .step = 1, .call = 0, .at = 0, .text = text});
  }
};

TEST_F(LiveConversationTest, SendsEachStoredEventOnce) {
  play({}, {.conversation = "01C", .cause = "", .text = "go", .mode = "", .think_budget = 0}, 0, 1,
       conversation, {});
  Reader reader;
  Cursor cursor;

  read_all(reader, cursor);

  EXPECT_EQ(std::ssize(reader.events) - 1, conversation.head());
  EXPECT_TRUE(conversation.cut(cursor, now).empty());
}

// Every place of a run at which a client may be cut off, then resumed from what it holds.
TEST_F(LiveConversationTest, ResumesToTheSameModelAfterACutAnywhere) {
  class Cutting final : public agent::EventSink {
   public:
    explicit Cutting(std::function<void()> look) : look_(std::move(look)) {}
    LiveConversation* target = nullptr;
    void event(const agent::Event& event) override { target->event(event), look_(); }
    void delta(const agent::Delta& delta) override { target->delta(delta), look_(); }

   private:
    std::function<void()> look_;
  };
  std::minstd_rand random(7);
  for (int round = 0; round < 200; ++round) {
    LiveConversation live("01C", [] {});
    Reader reader;
    Cursor cursor;
    Clock::time_point time{};
    Cutting sink([&] {
      time += milliseconds(33);
      const auto frames = live.cut(cursor, time);
      // A lost frame is one the client never saw: its cursor is what it holds.
      const bool lost = random() % 3 == 0;
      for (const std::string& frame : frames) {
        if (!lost) reader.read(frame);
      }
      if (lost) cursor = live.cursor_for(reader.subscription());
    });
    sink.target = &live;
    play({}, {.conversation = "01C", .cause = "", .text = "go", .mode = "", .think_budget = 0}, 0,
         1, sink, {});
    cursor = live.cursor_for(reader.subscription());
    for (auto frames = live.cut(cursor, time); !frames.empty();
         frames = live.cut(cursor, time += milliseconds(300))) {
      for (const std::string& frame : frames) reader.read(frame);
    }

    std::string lines;
    for (const std::string& event : reader.events) lines += event + "\n";
    ASSERT_EQ(lines, live.lines(0, live.head())) << "round " << round;
  }
}

TEST_F(LiveConversationTest, CutsOnlyAtCharacters) {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "€🎉";
  grow("t1.s1.think", "thinking", text);
  Reader reader;
  Cursor cursor;

  read_all(reader, cursor);

  EXPECT_EQ(reader.open["t1.s1.think"], text);
  EXPECT_LT(reader.largest, kServerFrameBytesMax);
  EXPECT_GE(reader.frames, 4);  // 140 kB in pieces of 32 KiB
}

TEST_F(LiveConversationTest, ResumesAtEveryByteOfAnItem) {
  const std::string text = "so à la carte: 3 €, 🎉!";
  grow("t1.s1.text", "text", text);
  for (std::size_t held = 0; held <= text.size(); ++held) {
    Reader reader;
    reader.open["t1.s1.text"] = text.substr(0, character_border(text, held));
    Subscription subscription = reader.subscription();
    subscription.open["t1.s1.text"] = static_cast<std::int64_t>(held);
    Cursor cursor = conversation.cursor_for(subscription);

    read_all(reader, cursor);

    EXPECT_EQ(reader.open["t1.s1.text"], text) << held;
  }
}

TEST_F(LiveConversationTest, SkipsForwardForAReaderFarBehind) {
  grow("t1.s1.k1.out", "output", std::string(300 << 10, 'x'));
  Reader reader;
  Cursor cursor;

  read_all(reader, cursor);

  EXPECT_EQ(reader.skipped, (300 << 10) - (16 << 10));
  EXPECT_EQ(reader.open["t1.s1.k1.out"].size(), 16U << 10U);
}

TEST_F(LiveConversationTest, ShowsOnlyATailWhereThatIsWanted) {
  grow("t1.s1.think", "thinking", std::string(5'000, 'x'));
  Cursor cursor;
  cursor.want.thinking = Detail::tail;

  Reader reader;
  read_all(reader, cursor);
  grow("t1.s1.think", "thinking", "more");

  EXPECT_EQ(reader.open["t1.s1.think"].size(), 160U);
  const auto due = conversation.due(cursor);
  ASSERT_TRUE(due.has_value());
  EXPECT_GT(*due, Clock::time_point() + milliseconds(249));
}

TEST_F(LiveConversationTest, ShortensALongTextAndSaysSo) {
  const std::string text(70'000, 'a');
  conversation.event(
      {.n = 0, .t = 0, .type = "text", .fields = {{"turn", 1}, {"step", 1}, {"text", text}}});
  Cursor cursor;

  const Json event = Json::parse(conversation.cut(cursor, now).at(0))["list"][0];

  EXPECT_EQ(event["text"].get<std::string>().size(), 16'384U);
  EXPECT_EQ(event["cut"]["text"]["bytes"], 70'000);
  EXPECT_EQ(conversation.item_text("t1.s1.text"), text);
}

TEST_F(LiveConversationTest, SendsStoredEventsOfAnySizeWithinAFrame) {
  Json many = Json::object();
  for (int i = 0; i < 100; ++i) many["p" + std::to_string(i)] = std::string(10'000, 'a');
  conversation.event({.n = 0,
                      .t = 0,
                      .type = "call",
                      .fields = {{"turn", 1}, {"step", 1}, {"call", 1}, {"arguments", many}}});
  Cursor cursor;

  const std::string frame = conversation.cut(cursor, now).at(0);

  EXPECT_LT(frame.size(), kServerFrameBytesMax);
  EXPECT_GT(Json::parse(frame)["list"][0]["cut"]["event"]["bytes"], 1'000'000);
}

TEST_F(LiveConversationTest, BeginsWithTheLast40Steps) {
  for (int n = 0; n < 100; ++n) {
    conversation.event({.n = n, .t = 0, .type = "step", .fields = {{"turn", 1}, {"step", n + 1}}});
  }

  const Cursor cursor = conversation.cursor_for(
      {.conversation = "01C", .n = -1, .open = {}, .want = {}, .from_step = std::nullopt});

  EXPECT_EQ(cursor.n, 59);
}

TEST_F(LiveConversationTest, IndexesOneEntryPerStep) {
  play({}, {.conversation = "01C", .cause = "", .text = "go", .mode = "", .think_budget = 0}, 0, 1,
       conversation, {});

  const Json index = Json::parse(conversation.step_index());

  EXPECT_EQ(index["turn"], Json::parse("[1,1]"));
  EXPECT_EQ(index["calls"], Json::parse("[1,0]"));
  EXPECT_EQ(index["flags"], Json::parse("[1,0]"));
  EXPECT_EQ(index["title"][0], "run_command python3 test_add.py");
}

}  // namespace
}  // namespace fathom::ui
